"""What an older openai-python sees of an endpoint, printed as JSON: run by that SDK's own interpreter.

Its arguments are a base URL and a key. It imports nothing of ours.
"""

import asyncio
import json
import sys
from typing import Any

import openai

MODEL, EMBEDDER = "gpt-4o-mini", "text-embedding-3-small"
ASKED: Any = {"model": MODEL, "messages": [{"role": "user", "content": "What is 12 + 30?"}], "max_tokens": 6}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]


def whole(client: openai.OpenAI) -> Any:
    """Text and usage of an answer in one piece."""
    answer = client.chat.completions.create(**ASKED)
    usage = answer.usage
    assert usage is not None
    return [answer.choices[0].message.content, answer.choices[0].finish_reason, usage.total_tokens]


def streamed(client: openai.OpenAI) -> Any:
    """Text and usage of a stream that asks for usage, and whether one that does not gets none."""
    asked = list(client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}))
    plain = list(client.chat.completions.create(**ASKED, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in asked if chunk.choices)
    silent = all(chunk.choices and chunk.usage is None for chunk in plain)
    return [text, asked[-1].usage.total_tokens, silent]


def tool(client: openai.OpenAI) -> Any:
    """The call of a tool."""
    answer = client.chat.completions.create(**ASKED, tools=TOOLS)
    calls: Any = answer.choices[0].message.tool_calls
    [call] = calls
    return [call.function.name, json.loads(call.function.arguments), answer.choices[0].finish_reason]


def embedded(client: openai.OpenAI) -> Any:
    """Length of an embedding, which the SDK asks for in base64 and decodes."""
    answer = client.embeddings.create(model=EMBEDDER, input=["sea", "lake"], dimensions=8)
    return [[len(one.embedding) for one in answer.data], answer.usage.prompt_tokens]


def models(client: openai.OpenAI) -> Any:
    """Names of the models."""
    return [one.id for one in client.models.list() if one.id in {MODEL, EMBEDDER}]


def errors(client: openai.OpenAI) -> Any:
    """The exceptions of what cannot be."""
    wrong_key = openai.OpenAI(base_url=client.base_url, api_key="wrong", max_retries=0)
    return [
        _raised(lambda: wrong_key.chat.completions.create(**ASKED)),
        _raised(lambda: client.chat.completions.create(**ASKED | {"model": "none-such"})),
        _raised(lambda: client.chat.completions.create(**ASKED | {"messages": []})),
        _raised(lambda: client.chat.completions.create(**ASKED, metadata={"simulate": "server_error"})),
    ]


def _raised(call: Any) -> str:
    try:
        call()
    except openai.APIError as error:
        return type(error).__name__
    return "nothing"


async def asynchronous(url: str, key: str) -> Any:
    """Text of an answer and of a stream, without threads."""
    async with openai.AsyncOpenAI(base_url=url, api_key=key) as client:
        answer = await client.chat.completions.create(**ASKED)
        stream = await client.chat.completions.create(**ASKED, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    return [answer.choices[0].message.content, "".join(pieces)]


def main(url: str, key: str) -> None:
    """Everything, as one JSON object."""
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    seen = {case.__name__: case(client) for case in (whole, streamed, tool, embedded, models, errors)}
    seen["asynchronous"] = asyncio.run(asynchronous(url, key))
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
