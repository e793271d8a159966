"""LangChain with a tool of its own beside the search: `bind_tools`, whole and streamed."""

import os

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny, 21 degrees in {city}."


def whole(llm, messages):
    return llm.invoke(messages)


def streamed(llm, messages):
    answer = None
    for chunk in llm.stream(messages):
        answer = chunk if answer is None else answer + chunk
    return answer


for model in ["sandbox-mixed-tools", "sandbox-client-tool"]:
    llm = ChatOpenAI(
        base_url=os.environ["GROUNDWIRE_URL"] + "/v1",
        api_key=os.environ["GROUNDWIRE_KEY"],
        model=model,
        timeout=60,
        extra_body={"rag": {"mode": "tool"}},
    ).bind_tools([get_weather])
    for ask in [whole, streamed]:
        messages = [HumanMessage("What is our data retention policy?")]
        first = ask(llm, messages)
        assert [call["name"] for call in first.tool_calls] == ["get_weather"], (model, first)
        messages.append(first)
        for call in first.tool_calls:
            messages.append(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]))

        second = ask(llm, messages)
        assert not second.tool_calls and "ret" in second.text.lower(), (model, second)
