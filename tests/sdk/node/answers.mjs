// Whole answers and streams with the `openai` package for Node, with nothing but the base URL changed.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.env.GROUNDWIRE_URL}/v1`, apiKey: process.env.GROUNDWIRE_KEY, timeout: 60_000 });
const request = {
  model: 'sandbox-extractive',
  messages: [{ role: 'user', content: 'What is our data retention policy?' }],
};

const { data: completion, response } = await client.chat.completions.create(request).withResponse();
const { message } = completion.choices[0];
assert.match(message.content, /ret/i);
assert.equal(completion.rag.mode, 'inject');
assert.match(completion.rag.sources[0].content, /retention/i);
assert.ok(response.headers.get('x-request-id'));

// The indexes of a citation count characters, not the 16-bit units of JavaScript.
assert.ok(message.annotations.length > 0);
for (const { type, url_citation: citation } of message.annotations) {
  assert.equal(type, 'url_citation');
  const marker = [...message.content].slice(citation.start_index, citation.end_index).join('');
  assert.equal(marker, `[${citation.source}]`);
  assert.equal((await fetch(citation.url)).status, 200);
}

const stream = await client.chat.completions.create({ ...request, stream: true });
let text = '';
const chunks = [];
for await (const chunk of stream) {
  text += chunk.choices[0].delta.content ?? '';
  chunks.push(chunk);
}
assert.equal(text, message.content);
assert.ok(chunks.length > 5, `${chunks.length} chunks are no stream`);
assert.ok(chunks[0].rag.sources.length > 0);
assert.equal(chunks.filter((chunk) => chunk.choices[0].finish_reason).length, 1);

// The package's own gathering of a stream is stricter than the loop above: it wants one id and one role.
const gathered = await client.chat.completions.stream(request).finalChatCompletion();
assert.equal(gathered.choices[0].message.content, text);

// A stream that is left early ends; the next request is answered all the same.
for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
  assert.ok(chunk.id);
  break;
}

const narrow = await client.chat.completions.create({ ...request, rag: { max_results: 1 } });
assert.equal(narrow.rag.sources.length, 1);
