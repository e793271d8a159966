"""Each refusal arrives as the exception that the package has for it, with a message that helps."""

import os

import openai
from openai import OpenAI

client = OpenAI(base_url=os.environ["GROUNDWIRE_URL"] + "/v1", api_key=os.environ["GROUNDWIRE_KEY"], timeout=60)
messages = [{"role": "user", "content": "What is our data retention policy?"}]


def refused(expected: type[openai.APIStatusError], code: str, param: str | None = None, **request) -> openai.APIStatusError:
    try:
        client.chat.completions.create(**{"model": "sandbox-extractive", "messages": messages, **request})
    except openai.APIStatusError as error:
        assert type(error) is expected, f"{type(error).__name__} instead of {expected.__name__}: {error}"
        assert error.code == code and param in (None, error.param), error.body
        assert error.type and error.body["message"] and error.request_id, error.body
        return error
    raise AssertionError(f"nothing refused {request}")


unknown = refused(openai.NotFoundError, "model_not_found", model="sandbox-extractiv")
assert "sandbox-extractive" in str(unknown), f"no close match is named: {unknown}"
refused(openai.NotFoundError, "model_not_found", model="sandbox-extractiv", stream=True)

refused(openai.BadRequestError, "invalid_value", "rag.max_results", extra_body={"rag": {"max_results": 0}})
refused(openai.BadRequestError, "invalid_value", "rag.max_result", extra_body={"rag": {"max_result": 5}})
refused(openai.BadRequestError, "invalid_value", "rag.mode", extra_body={"rag": {"mode": "guess"}})
refused(openai.BadRequestError, "invalid_value", "rag.workspace_id", extra_body={"rag": {"workspace_id": []}})
refused(openai.BadRequestError, "missing_field", "messages", messages=openai.omit)

try:
    client.responses.create(model="sandbox-extractive", input="hello")
    raise AssertionError("/v1/responses answers")
except openai.NotFoundError as error:
    assert "chat/completions" in str(error), error
