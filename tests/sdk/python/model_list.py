"""The models that a client can name."""

import os

from openai import NotFoundError, OpenAI

client = OpenAI(base_url=os.environ["GROUNDWIRE_URL"] + "/v1", api_key=os.environ["GROUNDWIRE_KEY"], timeout=60)

listed = [m.id for m in client.models.list().data]
assert {"sandbox-extractive", "sandbox-reasoner"} <= set(listed), listed
assert len(listed) == len(set(listed)), listed

for name in listed:
    model = client.models.retrieve(name)
    assert model.id == name and model.object == "model", model

try:
    client.models.retrieve("no-such-model")
    raise AssertionError("a model that is not listed was found")
except NotFoundError as error:
    assert error.code == "model_not_found", error.body
