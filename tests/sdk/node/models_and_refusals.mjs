// The model list, and each refusal as the class that the package has for it.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.env.GROUNDWIRE_URL}/v1`, apiKey: process.env.GROUNDWIRE_KEY, timeout: 60_000 });
const messages = [{ role: 'user', content: 'What is our data retention policy?' }];

const listed = [];
for await (const model of client.models.list()) listed.push(model.id);
assert.ok(listed.includes('sandbox-extractive') && listed.includes('sandbox-reasoner'), listed.join());
assert.equal((await client.models.retrieve('sandbox-reasoner')).id, 'sandbox-reasoner');

await assert.rejects(client.chat.completions.create({ model: 'sandbox-extractiv', messages }), (error) => {
  assert.ok(error instanceof OpenAI.NotFoundError, error);
  assert.equal(error.code, 'model_not_found');
  assert.match(error.message, /sandbox-extractive/);
  assert.ok(error.requestID);
  return true;
});
await assert.rejects(client.chat.completions.create({ model: 'sandbox-extractive', messages, rag: { max_results: 1000 } }), (error) => {
  assert.ok(error instanceof OpenAI.BadRequestError, error);
  assert.equal(error.code, 'invalid_value');
  assert.equal(error.param, 'rag.max_results');
  return true;
});
await assert.rejects(client.chat.completions.create({ model: 'no-such-model', messages, stream: true }), OpenAI.NotFoundError);
