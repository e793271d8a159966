"""The code of the guide `lighton-with-ovhcloud`, with the base URL and the key changed and the search step removed."""

import os

from openai import OpenAI

ovh = OpenAI(
    base_url=os.environ["GROUNDWIRE_URL"] + "/v1",
    api_key=os.environ["GROUNDWIRE_KEY"],
)


def answer(question: str, workspace_id: list[int] | None = None, model: str = "Meta-Llama-3_3-70B-Instruct") -> str:
    completion = ovh.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        extra_body={"rag": {"workspace_id": workspace_id}} if workspace_id else None,
    )
    return completion.choices[0].message.content


def stream(question: str, model: str = "Meta-Llama-3_3-70B-Instruct", **limits):
    """The loop of the guide; gives what it would print, and the chunks for the checks below."""
    stream = ovh.chat.completions.create(
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
listed = {m.id: m for m in ovh.models.list().data}
assert "Meta-Llama-3_3-70B-Instruct" in listed, list(listed)
assert listed["Qwen3-32B"].max_model_len == 32768, listed

# "The openai client surfaces the final answer as usual; read message.reasoning only to inspect the thinking."
message = ovh.chat.completions.create(model="Qwen3-32B", messages=[{"role": "user", "content": question}]).choices[0].message
assert "retention" in message.content and message.reasoning, message
printed, chunks = stream(question, model="Qwen3-32B")
assert printed == message.content, printed
assert "".join((chunk.choices[0].delta.model_extra or {}).get("reasoning") or "" for chunk in chunks) == message.reasoning, chunks
