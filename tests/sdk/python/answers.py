"""Whole answers: the code of the guides, with the base URL changed and the search step gone."""

import os

from openai import OpenAI

client = OpenAI(base_url=os.environ["GROUNDWIRE_URL"] + "/v1", api_key=os.environ["GROUNDWIRE_KEY"], timeout=60)
question = "What is our data retention policy?"


def answer(question: str, model: str = "sandbox-extractive", **extra) -> str:
    completion = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        **extra,
    )
    return completion.choices[0].message.content


grounded = answer(question)
assert isinstance(grounded, str) and "ret" in grounded.lower(), grounded

# The text that the guides put before the passages may stay: the gateway's joins it, in one system message.
completion = client.chat.completions.create(
    model="sandbox-extractive",
    messages=[
        {"role": "system", "content": "You are a helpful assistant. Answer in one sentence."},
        {"role": "user", "content": question},
    ],
)
assert completion.object == "chat.completion" and completion.model, completion
assert completion.choices[0].finish_reason == "stop", completion
assert completion.usage and completion.usage.total_tokens > 0, completion

# Scoping retrieval to a workspace, and asking for fewer passages.
scoped = client.chat.completions.create(
    model="sandbox-extractive",
    messages=[{"role": "user", "content": "Summarize the onboarding checklist"}],
    extra_body={"rag": {"workspace_id": [1], "max_results": 2}},
)
sources = scoped.model_extra["rag"]["sources"]
assert 1 <= len(sources) <= 2 and all(source["workspace_id"] == 1 for source in sources), sources

# The same by headers, for programs that cannot reach the body.
by_header = client.chat.completions.create(
    model="sandbox-extractive",
    messages=[{"role": "user", "content": question}],
    extra_headers={"X-Rag-Max-Results": "1"},
)
assert len(by_header.model_extra["rag"]["sources"]) == 1, by_header.model_extra

# Without retrieval nothing is added.
plain = client.chat.completions.with_raw_response.create(
    model="sandbox-extractive",
    messages=[{"role": "user", "content": question}],
    extra_body={"rag": {"mode": "off"}},
)
assert plain.headers["x-groundwire-mode"] == "off", plain.headers
assert "rag" not in plain.parse().model_extra, plain.text
