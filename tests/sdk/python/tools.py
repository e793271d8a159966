"""Mode `tool`: the model searches behind the back of the program, whose own tools work beside the search."""

import os

import openai
from openai import OpenAI
from pydantic import BaseModel

client = OpenAI(base_url=os.environ["GROUNDWIRE_URL"] + "/v1", api_key=os.environ["GROUNDWIRE_KEY"], timeout=60)
question = {"role": "user", "content": "What is our data retention policy?"}
tool_mode = {"rag": {"mode": "tool"}}

# The search alone: one ordinary answer, whole and streamed, from every model of the sandbox.
for model in ["sandbox-extractive", "sandbox-reasoner", "sandbox-parallel-search", "sandbox-bad-arguments", "sandbox-endless-search"]:
    whole = client.chat.completions.create(model=model, messages=[question], extra_body=tool_mode)
    message = whole.choices[0].message
    assert whole.choices[0].finish_reason == "stop" and not message.tool_calls, (model, whole)
    assert "ret" in message.content.lower() and message.annotations, (model, whole)
    assert whole.model_extra["rag"]["mode"] == "tool" and whole.model_extra["rag"]["sources"], (model, whole)
    assert "lighton_search" not in whole.model_dump_json(), (model, whole)

    with client.chat.completions.stream(
        model=model, messages=[question], extra_body=tool_mode, stream_options={"include_usage": True}
    ) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert text == final.choices[0].message.content == message.content, (model, text, message.content)
    assert final.choices[0].finish_reason == "stop" and final.usage == whole.usage, (model, final.usage, whole.usage)


# A tool of the program's own, in the package's own way.
class get_weather(BaseModel):
    """The weather in a city."""

    city: str


tool = openai.pydantic_function_tool(get_weather)


def whole_turn(model: str, messages: list):
    return client.chat.completions.parse(model=model, messages=messages, tools=[tool], extra_body=tool_mode)


def streamed_turn(model: str, messages: list):
    with client.chat.completions.stream(model=model, messages=messages, tools=[tool], extra_body=tool_mode) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert len(done) == len(final.choices[0].message.tool_calls or []), (done, final)
    return final


for turn in [whole_turn, streamed_turn]:
    for model, hidden in [("sandbox-mixed-tools", 1), ("sandbox-client-tool", 0)]:
        first = turn(model, [question])
        message = first.choices[0].message
        assert first.choices[0].finish_reason == "tool_calls", (model, first)
        assert [call.function.name for call in message.tool_calls] == ["get_weather"], (model, first)
        assert isinstance(message.tool_calls[0].function.parsed_arguments, get_weather), (model, first)
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Sunny, 21 degrees."}

        second = turn(model, [question, message, result])
        assert second.choices[0].finish_reason == "stop", (model, second)
        assert "ret" in second.choices[0].message.content.lower(), (model, second)
        if turn is whole_turn:
            # What was searched for beside the program's call was put back, not searched for again.
            assert len(first.model_extra["rag"]["queries"]) == hidden, (model, first.model_extra)
            assert len(second.model_extra["rag"]["queries"]) == 1 - hidden, (model, second.model_extra)
            assert second.model_extra["rag"]["sources"], (model, second.model_extra)
