"""Requests and replies for the cache's tests."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from serving.cache.configuration import CacheSettings, RouteCache
from serving.cache.embedding import Worker
from serving.cache.front import Caches
from serving.cache.records import Hit, Miss, Question

NOW_US = 1_795_000_000_000_000
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def question(text: str = "What is a quine?", **changed: Any) -> Question:
    """A question of tenant acme; what is changed is a field of Question, else a member of the request."""
    fields = {name: changed.pop(name) for name in list(changed) if name in Question.__struct_fields__}
    body = {"model": "chat", "messages": [{"role": "user", "content": text}], "temperature": 0} | changed
    plain: dict[str, Any] = {
        "tenant_id": "acme",
        "app": "support/bot",
        "route": "chat",
        "model_policy": "v1",
        "operation_id": f"op of {text}",
        "members": _members.decode(json.dumps(body)),
        "at_us": NOW_US,
    }
    return Question(**(plain | fields))


def reply(text: str = "A program that prints itself.", *, finish: str = "stop", **message: Any) -> bytes:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": finish}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    made = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [choice]}
    return json.dumps(made | {"usage": usage}).encode()


def text_of(hit: Hit) -> str:
    """What a hit says."""
    return str(msgspec.json.decode(hit.reply)["choices"][0]["message"]["content"])


async def asked(cache: Caches, one: Question, answer: str) -> Hit | Miss:
    """Ask, and let a model answer what the cache does not."""
    found = await cache.look_up(one)
    if isinstance(found, Miss):
        cache.offer(found, reply(answer), provider="openai", model="gpt-4o")
        await settled(cache)
    elif found.verify:
        cache.verified(one, found, reply=reply(answer))
        await settled(cache)
    return found


async def settled(cache: Caches) -> None:
    """The cache has done what it was told."""
    await cache.worker.run([], lambda _none: None, waiting=10**9)


Scenario = Callable[[Caches], Awaitable[None]]


def with_cache(folder: Path, scenario: Scenario, *, rules: RouteCache | None = None, **settings: Any) -> None:
    """Run a scenario with a cache whose thread has all the time it needs."""

    async def all_of_it() -> None:
        made = CacheSettings(folder=str(folder), look_up_ms=60_000, **settings)
        cache = Caches(made, {"chat": rules or RouteCache()}, worker=Worker(waiting=10_000), draw=lambda: 1.0)
        await cache.start()
        await cache.loaded()
        try:
            await scenario(cache)
        finally:
            await cache.close()
            cache.worker.close()

    asyncio.run(all_of_it())
