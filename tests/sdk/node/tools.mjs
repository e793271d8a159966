// Mode `tool` with the `openai` package for Node: the search runs unseen, and `runTools` runs the program's own tool beside it.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.env.GROUNDWIRE_URL}/v1`, apiKey: process.env.GROUNDWIRE_KEY, timeout: 60_000 });
const messages = [{ role: 'user', content: 'What is our data retention policy?' }];
const rag = { mode: 'tool' };

const whole = await client.chat.completions.create({ model: 'sandbox-extractive', messages, rag });
assert.match(whole.choices[0].message.content, /ret/i);
assert.equal(whole.choices[0].message.tool_calls, undefined);
const gathered = await client.chat.completions.stream({ model: 'sandbox-extractive', messages, rag }).finalChatCompletion();
assert.equal(gathered.choices[0].message.content, whole.choices[0].message.content);

for (const model of ['sandbox-mixed-tools', 'sandbox-client-tool']) {
  for (const stream of [false, true]) {
    const asked = [];
    const tool = {
      type: 'function',
      function: {
        name: 'get_weather',
        description: 'The weather in a city.',
        parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
        parse: JSON.parse,
        function: ({ city }) => {
          asked.push(city);
          return 'Sunny, 21 degrees.';
        },
      },
    };
    const runner = client.chat.completions.runTools({ model, messages: [...messages], tools: [tool], stream, rag });
    const answer = await runner.finalContent();
    assert.equal(asked.length, 1, `${model}: ${asked}`);
    assert.match(answer, /ret/i, `${model}: ${answer}`);
    assert.ok(!JSON.stringify(runner.messages).includes('lighton_search'), model);
  }
}
