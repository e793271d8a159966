"""The code of the guide `lighton-with-scaleway`, with the base URL and the key changed and the search step removed."""

import os

from openai import BadRequestError, OpenAI, UnprocessableEntityError

scaleway = OpenAI(
    base_url=os.environ["GROUNDWIRE_URL"] + "/v1",
    api_key=os.environ["GROUNDWIRE_KEY"],
)


def answer(question: str, workspace_id: list[int] | None = None, model: str = "llama-3.3-70b-instruct") -> str:
    completion = scaleway.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        extra_body={"rag": {"workspace_id": workspace_id}} if workspace_id else None,
    )
    return completion.choices[0].message.content


def stream(question: str, model: str = "llama-3.3-70b-instruct", **limits):
    """The loop of the guide; gives what it would print, and the chunks for the checks below."""
    stream = scaleway.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        stream=True,
        **limits,
    )

    printed, chunks = "", []
    for chunk in stream:
        delta = chunk.choices[0].delta.content
        if delta:
            printed += delta
        chunks.append(chunk)
    return printed, chunks


# What the guide prints.
question = "What is our data retention policy?"
whole = answer(question)
assert "retention" in whole.lower() and "[1]" in whole, whole
printed, chunks = stream(question)
assert printed == whole, f"{printed!r} is not {whole!r}"
assert chunks[0].model_extra["rag"]["sources"], chunks[0]
assert chunks[-1].choices[0].finish_reason == "stop", chunks[-1]
assert answer("Summarize the onboarding checklist", workspace_id=[1])

# The models are listed with what else the provider says of them.
listed = {m.id: m for m in scaleway.models.list().data}
assert "llama-3.3-70b-instruct" in listed, list(listed)

# The whole answer and the stream name the thinking differently here; each arrives under its own name.
message = scaleway.chat.completions.create(model="gpt-oss-120b", messages=[{"role": "user", "content": question}]).choices[0].message
assert message.reasoning_content and "retention" in message.content, message
printed, chunks = stream(question, model="gpt-oss-120b")
assert printed == message.content, printed
assert "".join((chunk.choices[0].delta.model_extra or {}).get("reasoning") or "" for chunk in chunks) == message.reasoning_content, chunks

# The guide also names models that the provider no longer has. Asked for by its upstream, such a one is the provider's to refuse, with
# its own status and words.
try:
    answer(question, model="scaleway/mixtral-8x7b-instruct-v0.1")
    raise AssertionError("an unknown model answered")
except UnprocessableEntityError as error:
    assert "model not found" in str(error), error.body
try:
    scaleway.chat.completions.create(model="llama-3.3-70b-instruct", messages=[{"role": "user", "content": question}], temperature=3)
    raise AssertionError("a bad temperature was taken")
except BadRequestError as error:
    assert "temperature" in str(error), error.body
