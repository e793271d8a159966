// Reasoning models: what they think is kept apart, whole and streamed, and running out of tokens is explained.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.env.GROUNDWIRE_URL}/v1`, apiKey: process.env.GROUNDWIRE_KEY, timeout: 60_000 });
const request = {
  model: 'sandbox-reasoner',
  messages: [{ role: 'user', content: 'What is our data retention policy?' }],
};

const { message } = (await client.chat.completions.create(request)).choices[0];
assert.ok(message.reasoning && message.content, JSON.stringify(message));

let thought = '';
let text = '';
for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
  thought += chunk.choices[0].delta.reasoning ?? '';
  text += chunk.choices[0].delta.content ?? '';
}
assert.deepEqual([thought, text], [message.reasoning, message.content]);

const short = await client.chat.completions.create({ ...request, max_tokens: 3 });
assert.equal(short.choices[0].finish_reason, 'length');
assert.equal(short.choices[0].message.content, null);
assert.match(short.rag.warnings.join('\n'), /max_(completion_)?tokens/);
