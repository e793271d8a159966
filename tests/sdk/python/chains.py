"""LangChain, with nothing but its base URL changed."""

import os

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

llm = ChatOpenAI(
    base_url=os.environ["GROUNDWIRE_URL"] + "/v1", api_key=os.environ["GROUNDWIRE_KEY"], model="sandbox-extractive", timeout=60
)
conversation = [SystemMessage("Answer in one sentence."), HumanMessage("What is our data retention policy?")]

answer = llm.invoke(conversation)
assert "ret" in answer.text.lower(), answer
assert answer.usage_metadata["total_tokens"] > 0, answer

text = "".join(chunk.text for chunk in llm.stream(conversation))
assert text == answer.text, f"{text!r} is not {answer.text!r}"

# LangChain's own way to send what OpenAI has no name for.
narrow = llm.bind(extra_body={"rag": {"max_results": 1}}).invoke(conversation)
assert narrow.text, narrow
