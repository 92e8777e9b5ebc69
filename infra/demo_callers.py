"""The demo's callers: OpenAI's own SDK, unmodified, and a journal of what each call told its caller."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai

_QUESTIONS = ("What is {} + 30?", "What is {} * 12?", "Name {} harbours that are open in winter.")
_TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
        },
    }
]
_PROVIDER_OF_OWN = "vllm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One application: who it is, what it asks, how often."""

    name: str
    """Who it is, for people."""
    tenant_id: str
    """Whose key it has."""
    key: str
    """The key."""
    kind: str
    """`whole`, `stream`, `tool` or `embedding`."""
    model: str
    """The model it names."""
    pause_s: float
    """Between an answer and the next question."""


@dataclass(slots=True)
class Journal:
    """What every caller was told, from the first call on."""

    path: Path
    answered: int = 0
    streams: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Exception of the SDK → how often."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Caller → calls its budget did not allow."""
    last_refusal: str = ""
    seconds: list[float] = field(default_factory=list)
    """How long the answers of the last phase took."""
    last_stream: str = ""
    """The `user` of the last stream that came whole."""

    def note(self, caller: Caller, user: str, *, started_at_us: int, reply: dict[str, Any]) -> None:
        """One answer, in the envelope `tokenledger price` reads; its texts stay out."""
        provider = _PROVIDER_OF_OWN if "/" in caller.model else "openai"
        api = "embeddings" if caller.kind == "embedding" else "chat"
        data = {
            "provider": provider, "api": api, "request_model": caller.model, "response": reply, "user_id": user,
            "started_at_us": started_at_us,
        }  # fmt: skip
        event = {
            "specversion": "1.0", "id": user, "source": "demo", "type": "llm.call.v1", "tenantid": caller.tenant_id,
            "data": data,
        }  # fmt: skip
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
        self.answered += 1


class Crowd:
    """All callers at work until they are told to go."""

    def __init__(self, url: str, journal: Journal, *, run: str) -> None:
        self._url = url
        self._journal = journal
        self._run = run
        self._count = 0

    async def work(self, callers: list[Caller], over: asyncio.Event) -> None:
        """Every caller goes on until it is over, then ends its last call."""
        async with contextlib.AsyncExitStack() as held:
            clients = [await held.enter_async_context(self._client(caller)) for caller in callers]
            calls = zip(callers, clients, strict=True)
            await asyncio.gather(*(self._one(caller, client, over=over) for caller, client in calls))

    def _client(self, caller: Caller) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self._url, api_key=caller.key, max_retries=1, timeout=20)

    async def _one(self, caller: Caller, client: openai.AsyncOpenAI, *, over: asyncio.Event) -> None:
        while not over.is_set():
            self._count += 1
            await self._call(caller, client, number=self._count)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), caller.pause_s)

    async def _call(self, caller: Caller, client: openai.AsyncOpenAI, *, number: int) -> None:
        user, began_s = f"{self._run}-{number:05d}", time.monotonic()
        started_at_us = time.time_ns() // 1000
        question = _QUESTIONS[number % len(_QUESTIONS)].format(number)
        try:
            reply = await _asked(caller, client, question=question, user=user)
        except openai.APIStatusError as error:
            if error.code == "insufficient_quota":
                self._journal.refusals[caller.name] += 1
                self._journal.last_refusal = str(error.message)
            else:
                self._journal.failures[type(error).__name__] += 1
        except openai.APIError as error:
            self._journal.failures[type(error).__name__] += 1
        else:
            self._journal.note(caller, user, started_at_us=started_at_us, reply=reply)
            self._journal.seconds.append(time.monotonic() - began_s)
            if caller.kind == "stream":
                self._journal.streams += 1
                self._journal.last_stream = user


async def _asked(caller: Caller, client: openai.AsyncOpenAI, *, question: str, user: str) -> dict[str, Any]:
    """One call; its answer without texts."""
    if caller.kind == "embedding":
        vectors = await client.embeddings.create(model=caller.model, input=[question], user=user)
        return vectors.model_dump(include={"object", "model", "usage"})
    asked: Any = {
        "model": caller.model, "messages": [{"role": "user", "content": question}], "user": user, "max_tokens": 80,
    }  # fmt: skip
    kept = {"id", "created", "model", "usage", "service_tier"}
    if caller.kind == "stream":
        stream = await client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        last: Any = None
        async for chunk in stream:
            last = chunk
        return {"object": "chat.completion", **last.model_dump(include=kept, exclude_none=True)}
    if caller.kind == "tool":
        asked["tools"] = _TOOLS
    answer = await client.chat.completions.create(**asked)
    return {"object": "chat.completion", **answer.model_dump(include=kept, exclude_none=True)}
