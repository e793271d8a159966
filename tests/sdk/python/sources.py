"""What an answer says of where it comes from: `rag`, annotations, and the files behind them."""

import os
import urllib.request

from openai import OpenAI

client = OpenAI(base_url=os.environ["GROUNDWIRE_URL"] + "/v1", api_key=os.environ["GROUNDWIRE_KEY"], timeout=60)
question = "What is our data retention policy?"
messages = [{"role": "user", "content": question}]

raw = client.chat.completions.with_raw_response.create(model="sandbox-extractive", messages=messages)
completion = raw.parse()
rag = completion.model_extra["rag"]

assert rag["mode"] == "inject" and rag["queries"] == [question], rag
assert rag["usage"]["searches"] == 1 and rag["usage"]["passage_tokens"] > 0, rag["usage"]
assert rag["warnings"] == [], rag["warnings"]
for number, source in enumerate(rag["sources"], start=1):
    assert source["index"] == number and source["label"] == f"[{number}]", source
    assert source["filename"] and source["content"] and isinstance(source["file_id"], int), source
assert "retention" in rag["sources"][0]["content"].lower(), rag["sources"][0]

assert raw.headers["x-request-id"] and raw.headers["x-groundwire-mode"] == "inject", raw.headers
assert raw.headers["x-groundwire-upstream"] and raw.headers["x-groundwire-model"] == "sandbox-extractive", raw.headers
assert "search;dur=" in raw.headers["server-timing"] and "upstream;dur=" in raw.headers["server-timing"], raw.headers

# Each marker of the answer has an annotation, typed as OpenAI's own, and its link opens in a browser that has no key.
message = completion.choices[0].message
assert message.annotations, message
for annotation in message.annotations:
    assert annotation.type == "url_citation", annotation
    citation = annotation.url_citation
    source = rag["sources"][citation.source - 1]
    assert message.content[citation.start_index : citation.end_index] == source["label"], (message.content, citation)
    assert citation.filename == source["filename"] and citation.title.startswith(source["filename"]), citation
    assert citation.file_id == str(source["file_id"]), citation
    with urllib.request.urlopen(citation.url) as file:
        assert file.status == 200 and file.read(), citation.url

# A conversation goes on with the answer as the package gives it back, annotations included.
followed = client.chat.completions.create(
    model="sandbox-extractive",
    messages=[*messages, message, {"role": "user", "content": "How many days of annual leave do employees have?"}],
)
assert followed.choices[0].message.content, followed
assert followed.model_extra["rag"]["queries"] == ["How many days of annual leave do employees have?"], followed.model_extra

# Without citations there are neither markers nor annotations.
unmarked = client.chat.completions.create(model="sandbox-extractive", messages=messages, extra_body={"rag": {"citations": False}})
assert "[1]" not in unmarked.choices[0].message.content, unmarked
assert not unmarked.choices[0].message.annotations, unmarked
assert unmarked.model_extra["rag"]["sources"], unmarked
