"""The code of the guide `lighton-with-inceptron`, with the base URL and the key changed and the search step removed."""

import os

from openai import OpenAI

inceptron = OpenAI(
    base_url=os.environ["GROUNDWIRE_URL"] + "/v1",
    api_key=os.environ["GROUNDWIRE_KEY"],
)


def answer(question: str, workspace_id: list[int] | None = None, model: str = "nvidia/llama-3.3-70b-instruct-fp8") -> str:
    completion = inceptron.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        extra_body={"rag": {"workspace_id": workspace_id}} if workspace_id else None,
    )
    return completion.choices[0].message.content


def stream(question: str, model: str = "nvidia/llama-3.3-70b-instruct-fp8", **limits):
    """The loop of the guide; gives what it would print, and the chunks for the checks below."""
    stream = inceptron.chat.completions.create(
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
listed = {m.id: m for m in inceptron.models.list().data}
assert "nvidia/llama-3.3-70b-instruct-fp8" in listed, list(listed)
assert listed["nvidia/llama-3.3-70b-instruct-fp8"].context_length == 131072, listed
assert inceptron.models.retrieve("moonshotai/Kimi-K2.6").quantization == "int4"

# A reasoning model keeps its thinking in `reasoning`, and with too low a limit it says nothing else.
request = {"model": "moonshotai/Kimi-K2.6", "messages": [{"role": "user", "content": question}]}
message = inceptron.chat.completions.create(**request).choices[0].message
assert message.reasoning and "retention" in message.content, message
short = inceptron.chat.completions.create(**request, max_tokens=10)
assert short.choices[0].finish_reason == "length" and short.choices[0].message.content is None, short
assert any("max_tokens" in warning or "max_completion_tokens" in warning for warning in short.model_extra["rag"]["warnings"]), short.model_extra

printed, chunks = stream(question, model="moonshotai/Kimi-K2.6", max_tokens=10)
assert printed == "", printed
assert any((chunk.choices[0].delta.model_extra or {}).get("reasoning") for chunk in chunks), chunks
end = next(chunk for chunk in chunks if chunk.choices[0].finish_reason)
assert end.choices[0].finish_reason == "length" and end.model_extra["rag"]["warnings"], end
