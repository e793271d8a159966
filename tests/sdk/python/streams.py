"""Streams: the loop of the guides, which takes the first choice of every chunk, and what later code does with a stream."""

import asyncio
import os

from openai import AsyncOpenAI, OpenAI

address = {"base_url": os.environ["GROUNDWIRE_URL"] + "/v1", "api_key": os.environ["GROUNDWIRE_KEY"], "timeout": 60}
client = OpenAI(**address)
request = {
    "model": "sandbox-extractive",
    "messages": [{"role": "user", "content": "What is our data retention policy?"}],
}

stream = client.chat.completions.create(**request, stream=True)
text, chunks = "", []
for chunk in stream:
    delta = chunk.choices[0].delta.content
    if delta:
        text += delta
    chunks.append(chunk)

assert "ret" in text.lower(), text
assert len(chunks) > 5, f"{len(chunks)} chunks are no stream"
assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1, "the chunks are not of one answer"
assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1, "the role comes once"

# The sources ride on the first chunk, the annotations on the one that ends the choice.
assert chunks[0].model_extra["rag"]["sources"], chunks[0]
ends = [chunk for chunk in chunks if chunk.choices[0].finish_reason]
assert len(ends) == 1 and ends[0].choices[0].finish_reason == "stop", ends
annotations = ends[0].choices[0].delta.model_extra["annotations"]
assert annotations, ends
for annotation in annotations:
    citation = annotation["url_citation"]
    assert text[citation["start_index"] : citation["end_index"]] == f"[{citation['source']}]", (text, citation)

# Whole and streamed say the same.
whole = client.chat.completions.create(**request).choices[0].message.content
assert whole == text, f"{whole!r} is not {text!r}"

# Usage comes when it is asked for, in a last chunk without choices, and only then.
assert all(chunk.usage is None for chunk in chunks), "nobody asked for usage"
counted = list(client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}))
assert counted[-1].choices == [] and counted[-1].usage.total_tokens > 0, counted[-1]
assert all(chunk.choices for chunk in counted[:-1]), "only the chunk with the usage has no choices"

# The package's own gathering of a stream.
with client.chat.completions.stream(**request) as gathering:
    final = gathering.get_final_completion()
assert final.choices[0].message.content == text, final


async def many_at_once() -> None:
    """Streams side by side do not mix, and one that is left early holds up nobody."""
    async with AsyncOpenAI(**address) as client:

        async def one() -> str:
            stream = await client.chat.completions.create(**request, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        async def leaver() -> str:
            async with await client.chat.completions.create(**request, stream=True) as stream:
                async for _ in stream:
                    return text
            raise AssertionError("no chunk came")

        texts = await asyncio.gather(*[one() for _ in range(10)], *[leaver() for _ in range(5)])
        assert set(texts) == {text}, set(texts)


asyncio.run(many_at_once())
