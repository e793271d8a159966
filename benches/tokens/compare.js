// Compares the estimate of src/rag/tokens with what tokenizers count, and prints a Markdown table:
//
//   npm ci --prefix benches/tokens && npm start --silent --prefix benches/tokens
//
// Each figure is how much the estimate is over (+) or under (-) the tokenizer's count. A row of several files tells the mean of their
// errors and, behind it, the lowest and the highest. It fails where a file is estimated more than 5 % under cl100k, o200k or Llama 3.

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { encode as cl100k } from "gpt-tokenizer/encoding/cl100k_base";
import { encode as o200k } from "gpt-tokenizer/encoding/o200k_base";
import llama3 from "llama3-tokenizer-js";
import mistral from "mistral-tokenizer-js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const lowest = -0.05;

const asText = { allowedSpecial: new Set(), disallowedSpecial: new Set() };
const tokenizers = [
  { name: "GPT-4 (cl100k)", held: true, count: (text) => cl100k(text, asText).length },
  { name: "GPT-4o, gpt-oss (o200k)", held: true, count: (text) => o200k(text, asText).length },
  { name: "Llama 3", held: true, count: (text) => llama3.encode(text, { bos: false, eos: false }).length },
  { name: "Mistral 7B (32k)", held: false, count: (text) => mistral.encode(text, false, false).length },
];

const files = (folder, endings) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((file) => endings.includes(extname(file)))
    .sort()
    .map((file) => join(folder, file));
const french = "src/sandbox/handbook/documents/france/charte-teletravail.md";
const rows = [
  ["Wikipedia, English", files("tests/data/wikipedia-qa/documents", [".md"])],
  ["handbook, English", files("src/sandbox/handbook/documents", [".md", ".txt"]).filter((file) => file !== french)],
  ["handbook, French", [french]],
  ["HTML", [...files("src/sandbox/handbook/documents", [".html"]), "benches/tokens/samples/page.html"]],
  ["Rust", files("src", [".rs"])],
  ...files("benches/tokens/samples", [".txt", ".md", ".csv", ".py", ".json"]).map((file) => [basename(file), [file]]),
];

const all = [...new Set(rows.flatMap(([, files]) => files))];
const printed = execFileSync("cargo", ["run", "--quiet", "--locked", "--example", "estimate_tokens", "--", ...all], { cwd: root, encoding: "utf8" });
const estimates = new Map(printed.trimEnd().split("\n").map((line) => {
  const [tokens, file] = line.split("\t");
  return [file, Number(tokens)];
}));

const percent = (error) => `${error < 0 ? "-" : "+"}${Math.abs(100 * error).toFixed(0)}`;
const low = [];
console.log(`| text | files | estimate | ${tokenizers.map(({ name }) => name).join(" | ")} |`);
console.log(`|---|--:|--:|${"--:|".repeat(tokenizers.length)}`);
for (const [name, files] of rows) {
  const texts = files.map((file) => readFileSync(join(root, file), "utf8"));
  const cells = tokenizers.map(({ name, held, count }) => {
    const errors = texts.map((text, at) => estimates.get(files[at]) / count(text) - 1);
    if (held) errors.forEach((error, at) => error < lowest && low.push(`${files[at]}: ${percent(error)} % on ${name}`));
    const mean = percent(errors.reduce((sum, error) => sum + error, 0) / errors.length);
    return errors.length === 1 ? mean : `${mean} (${percent(Math.min(...errors))}..${percent(Math.max(...errors))})`;
  });
  const estimate = files.reduce((sum, file) => sum + estimates.get(file), 0);
  console.log(`| ${name} | ${files.length} | ${estimate} | ${cells.join(" | ")} |`);
}
if (low.length) {
  console.error(`more than ${-100 * lowest} % under:\n${low.join("\n")}`);
  process.exitCode = 1;
}
