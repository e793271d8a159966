"""The code of the guide `paradigm-openai-compatibility` that chats and lists, with the base URL and the key changed."""

import os

from openai import OpenAI, OpenAIError

client = OpenAI(api_key=os.environ["GROUNDWIRE_KEY"], base_url=os.environ["GROUNDWIRE_URL"] + "/v1")
question = "What is our data retention policy?"

response = client.chat.completions.create(
    model="alfred-4.2",
    messages=[
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": question},
    ],
    temperature=0.7,
    max_tokens=150,
)
whole = response.choices[0].message.content
assert "retention" in whole.lower() and "[1]" in whole, whole
assert response.model_extra["rag"]["sources"], response

stream = client.chat.completions.create(
    model="alfred-4.2",
    messages=[{"role": "user", "content": question}],
    stream=True,
)
printed = ""
for chunk in stream:
    if chunk.choices[0].delta.content:
        printed += chunk.choices[0].delta.content
assert printed == whole, f"{printed!r} is not {whole!r}"

# Its models have a name, a technical name and a type; an id is what every other client looks for.
models = {model.id: model for model in client.models.list() if "model_type" in model.model_extra}
assert models["alfred-4.2"].name == "Alfred 4.2" and models["alfred-4.2"].technical_name == "alfred-4.2", models
assert models["alfred-ft5"].model_type == "Vision Language Model", models
assert client.chat.completions.create(model="alfred-ft5", messages=[{"role": "user", "content": question}]).choices[0].message.content

try:
    response = client.chat.completions.create(model="your-model-name", messages=[{"role": "user", "content": "Hello"}])
    raise AssertionError("an unknown model answered")
except OpenAIError as e:
    assert "your-model-name" in str(e), e
