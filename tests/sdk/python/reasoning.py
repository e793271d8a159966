"""Reasoning models: what they think is kept apart, and one that ran out of tokens while thinking is explained."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["GROUNDWIRE_URL"] + "/v1", api_key=os.environ["GROUNDWIRE_KEY"], timeout=60)
request = {
    "model": "sandbox-reasoner",
    "messages": [{"role": "user", "content": "What is our data retention policy?"}],
}

message = client.chat.completions.create(**request).choices[0].message
assert message.reasoning and message.content, message
assert message.reasoning not in message.content, message

stream = client.chat.completions.create(**request, stream=True)
thought, text, order = "", "", []
for chunk in stream:
    delta = chunk.choices[0].delta
    piece = (delta.model_extra or {}).get("reasoning")
    if piece:
        thought += piece
        order.append("reasoning")
    if delta.content:
        text += delta.content
        order.append("content")
assert (thought, text) == (message.reasoning, message.content), (thought, text)
assert order == sorted(order, reverse=True), "the answer began before the thinking ended"

short = client.chat.completions.create(**request, max_tokens=3)
assert short.choices[0].finish_reason == "length", short
assert short.choices[0].message.content is None, short
assert short.choices[0].message.reasoning, short
assert any("max_tokens" in warning or "max_completion_tokens" in warning for warning in short.model_extra["rag"]["warnings"]), short.model_extra["rag"]["warnings"]

chunks = list(client.chat.completions.create(**request, max_tokens=3, stream=True))
assert not any(chunk.choices[0].delta.content for chunk in chunks), chunks
end = next(chunk for chunk in chunks if chunk.choices[0].finish_reason)
assert end.choices[0].finish_reason == "length", end
assert end.model_extra["rag"]["warnings"], end
