"""Every snippet of the guide `paradigm-openai-compatibility` against the sandbox, with names of models and files that exist there."""

import os
import tempfile
import time

from openai import OpenAI, OpenAIError

client = OpenAI(api_key=os.environ["GROUNDWIRE_KEY"], base_url=os.environ["GROUNDWIRE_URL"] + "/v1")

# Chat Completions
response = client.chat.completions.create(
    model="sandbox-extractive",
    messages=[
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is our data retention policy?"},
    ],
    temperature=0.7,
    max_tokens=150,
)
assert "retention" in response.choices[0].message.content, response

# Streaming response
stream = client.chat.completions.create(
    model="sandbox-extractive",
    messages=[{"role": "user", "content": "What is our data retention policy?"}],
    stream=True,
)
told = ""
for chunk in stream:
    if chunk.choices[0].delta.content:
        told += chunk.choices[0].delta.content
assert "retention" in told, told

# Completions
response = client.completions.create(
    model="sandbox-extractive",
    prompt="What is our data retention policy?",
    max_tokens=100,
    temperature=0.7,
)
assert "retention" in response.choices[0].text, response
assert response.object == "text_completion" and response.model_extra["rag"]["sources"], response

# Streaming response
stream = client.completions.create(
    model="sandbox-extractive",
    prompt="What is our data retention policy?",
    stream=True,
)
told = ""
for chunk in stream:
    if chunk.choices[0].text:
        told += chunk.choices[0].text
assert "retention" in told, told

# Embeddings
response = client.embeddings.create(model="sandbox-embedding", input="Text to embed")
embedding = response.data[0].embedding
assert len(embedding) == 256 and any(embedding), embedding
many = client.embeddings.create(model="sandbox-embedding", input=["Text to embed", "Another"], encoding_format="float")
assert all(abs(a - b) < 1e-6 for a, b in zip(many.data[0].embedding, embedding)), many

# List Models
models = client.models.list()
listed = [(model.id, getattr(model, "name", None), getattr(model, "technical_name", None)) for model in models.data]
assert any(technical == "sandbox-embedding" for _, _, technical in listed), listed

# Upload Files
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "telescopes.md")
    with open(path, "w") as document:
        document.write("# Observatory\n\nThe observatory of Kourou keeps 77 purple telescopes.\n")
    with open(path, "rb") as file:
        response = client.files.create(file=file, purpose="assistants")
file_id = response.id
assert isinstance(file_id, str) and response.filename == "telescopes.md", response
assert response.object == "file" and response.bytes > 0 and response.purpose == "assistants", response

# What was uploaded is found a moment later.
question = [{"role": "user", "content": "How many purple telescopes does the observatory keep?"}]
for _ in range(50):
    if client.files.retrieve(file_id).status == "processed":
        break
    time.sleep(0.1)
found = client.chat.completions.create(model="sandbox-extractive", messages=question)
assert "77" in found.choices[0].message.content, found

# List Files
files = client.files.list()
assert any(file.id == file_id and file.filename and file.bytes for file in files.data), files
assert {file.id for file in client.files.list(limit=3)} == {file.id for file in files}, "pages do not add up"

# Retrieve File
file = client.files.retrieve(file_id=file_id)
assert (file.filename, file.created_at > 0) == ("telescopes.md", True), file
assert b"77 purple telescopes" in client.files.content(file_id).read()

# Delete File
response = client.files.delete(file_id)
assert response.deleted and response.id == file_id, response

# And is gone from the answers after that.
gone = client.chat.completions.create(model="sandbox-extractive", messages=question)
assert "77" not in gone.choices[0].message.content, gone
assert all(source["filename"] != "telescopes.md" for source in gone.model_extra["rag"]["sources"]), gone

# Error Handling
for refused in (
    lambda: client.chat.completions.create(model="your-model-name", messages=[{"role": "user", "content": "Hello"}]),
    lambda: client.files.retrieve("file-abc123"),
    lambda: client.files.delete(file_id),
):
    try:
        refused()
        raise AssertionError("it was answered")
    except OpenAIError as e:
        assert e.status_code == 404, e

# Vector stores: the workspaces, and search in them.
stores = client.vector_stores.list()
store = client.vector_stores.retrieve(stores.data[-1].id)
assert store.object == "vector_store" and store.name, store
hits = [hit for store in stores for hit in client.vector_stores.search(store.id, query="data retention policy", max_num_results=3)]
assert any("retention" in hit.content[0].text.lower() for hit in hits), hits
assert all(0 <= hit.score <= 1 for hit in hits), hits
