"""Callers that keep a journal of their own: each request before it is sent, and what came of it."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

QUESTION = {"role": "user", "content": "What is 12 + 30?"}


@dataclass(slots=True)
class Sent:
    """One request."""

    user: str
    """Its `user`, which simulator and ledger record too."""
    stream: bool
    status: int = 0
    """Status of the answer; 0 if none came."""
    complete: bool = False
    """Whether the answer came whole."""
    usage: dict[str, Any] | None = None
    """The usage it told."""
    headers: dict[str, str] = field(default_factory=dict)


class Callers:
    """Several of them at once, until told to stop."""

    def __init__(self, url: str, key: str, *, name: str, model: str = "gpt-4o-mini") -> None:
        self._url = f"{url}/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"}
        self._name = name
        self._model = model
        self.journal: list[Sent] = []

    async def call(self, session: aiohttp.ClientSession, *, stream: bool, **fields: Any) -> Sent:
        """One request and its answer; a broken connection is an answer too."""
        sent = Sent(user=f"{self._name}-{len(self.journal):05d}", stream=stream)
        self.journal.append(sent)
        body = {"model": self._model, "messages": [QUESTION], "user": sent.user, **fields}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            async with session.post(self._url, json=body, headers=self._headers) as reply:
                sent.status, sent.headers = reply.status, {k.lower(): v for k, v in reply.headers.items()}
                data = await reply.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return sent
        sent.complete, sent.usage = _told(data, stream=stream and sent.status == 200)
        return sent

    async def keep_calling(
        self, session: aiohttp.ClientSession, *, until_s: float, streams: bool, pause_s: float
    ) -> None:
        """One caller: the next request when the one before it is over."""
        while time.monotonic() < until_s:
            sent = await self.call(session, stream=streams)
            await asyncio.sleep(0.05 if sent.status == 0 else pause_s)  # nobody there: wait as an SDK would

    async def load(self, *, seconds: float, callers: int, pause_s: float = 0.02) -> None:
        """That many callers for so long, every other one with streams."""
        until_s = time.monotonic() + seconds
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(
                *(
                    self.keep_calling(session, until_s=until_s, streams=bool(number % 2), pause_s=pause_s)
                    for number in range(callers)
                )
            )

    def several(self, count: int, **fields: Any) -> list[Sent]:
        """So many requests one after the other, streams and others in turn."""

        async def run() -> list[Sent]:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
                return [await self.call(session, stream=bool(number % 2), **fields) for number in range(count)]

        return asyncio.run(run())


def _told(data: bytes, *, stream: bool) -> tuple[bool, dict[str, Any] | None]:
    """Whether an answer is whole, and the usage it tells."""
    if not stream:
        body = json.loads(data)
        return "choices" in body, body.get("usage")
    events = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line.startswith(b"data: ")]
    usages = [json.loads(event).get("usage") for event in events if event != b"[DONE]"]
    return bool(events) and events[-1] == b"[DONE]", next((usage for usage in usages if usage), None)
