"""The tool example of the guides beside the same program with its loop deleted and mode `tool` instead: the answers are the same."""

import json
import os
import urllib.request

from openai import OpenAI

SEARCH_TOOL = {
    "type": "function",
    "function": {
        "name": "lighton_search",
        "description": (
            "Search the company knowledge base for passages relevant to a query. "
            "Returns ranked excerpts with their source filename and page numbers."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "description": "Natural-language search query.",
                },
                "max_results": {
                    "type": "integer",
                    "description": "Number of passages to return (1–50, default 5).",
                    "default": 5,
                },
            },
            "required": ["query"],
        },
    },
}


def run_search(query: str, max_results: int = 5) -> str:
    request = urllib.request.Request(
        os.environ["SANDBOX_URL"] + "/api/v3/search",
        headers={"Authorization": "Bearer any", "Content-Type": "application/json"},
        data=json.dumps({"query": query, "max_results": max_results}).encode(),
    )
    with urllib.request.urlopen(request) as response:
        results = json.load(response)["results"]
    passages = [f"[{r['source']['filename']}, p.{r['source']['page_start']}]\n{r['content']}" for r in results if r["content"]]
    return "\n\n".join(passages) if passages else "No results found."


def answer_with_loop(client: OpenAI, question: str, model: str) -> str:
    messages = [{"role": "user", "content": question}]

    while True:
        completion = client.chat.completions.create(
            model=model,
            tools=[SEARCH_TOOL],
            messages=messages,
        )
        choice = completion.choices[0]

        if choice.finish_reason == "tool_calls":
            # What the provider thought stays with it: strict servers refuse it in the history.
            messages.append({"role": "assistant", "content": choice.message.content, "tool_calls": choice.message.tool_calls})
            for call in choice.message.tool_calls:
                args = json.loads(call.function.arguments)
                result = run_search(**args)
                messages.append({
                    "role": "tool",
                    "tool_call_id": call.id,
                    "content": result,
                })
        else:
            return choice.message.content


gateway = OpenAI(base_url=os.environ["GROUNDWIRE_URL"] + "/v1", api_key=os.environ["GROUNDWIRE_KEY"], timeout=60)
TOOL_MODE = {"rag": {"mode": "tool"}}


def answer(question: str, model: str, rag: dict) -> str:
    completion = gateway.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        extra_body={"rag": rag},
    )
    return completion.choices[0].message.content


def stream(question: str, model: str, rag: dict):
    printed, chunks = "", []
    for chunk in gateway.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        stream=True,
        extra_body={"rag": rag},
    ):
        delta = chunk.choices[0].delta.content
        if delta:
            printed += delta
        assert not chunk.choices[0].delta.tool_calls, chunk
        chunks.append(chunk)
    return printed, chunks


question = "What is our data retention policy?"
for provider, models in {
    "inceptron": ["nvidia/llama-3.3-70b-instruct-fp8", "moonshotai/Kimi-K2.6"],
    "ovhcloud": ["Meta-Llama-3_3-70B-Instruct", "Qwen3-32B"],
    "scaleway": ["llama-3.3-70b-instruct", "gpt-oss-120b"],
    "paradigm": ["alfred-4.2"],
}.items():
    own = OpenAI(base_url=os.environ[provider.upper() + "_URL"], api_key=os.environ[provider.upper() + "_KEY"], timeout=60)
    for model in models:
        looped = answer_with_loop(own, question, model)
        assert "retention" in looped, looped

        # The passages of the guides have no numbers.
        plain = {"mode": "tool", "citations": False}
        whole = answer(question, model, plain)
        assert whole == looped, f"{whole!r} is not {looped!r}"
        printed, chunks = stream(question, model, plain)
        assert printed == looped, f"{printed!r} is not {looped!r}"
        assert chunks[-1].choices[0].finish_reason == "stop", chunks[-1]
        assert chunks[-1].model_extra["rag"]["queries"] == [question], chunks[-1]

        # With numbers the answer cites, and says where.
        cited, chunks = stream(question, model, {"mode": "tool"})
        assert cited == answer(question, model, {"mode": "tool"}), cited
        assert "[1]" in cited, cited
        assert chunks[-1].choices[0].delta.model_extra["annotations"], chunks[-1]
