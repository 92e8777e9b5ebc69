"""Scenes for cascades: answers that upstreams give, a gateway before them, and the bill afterwards."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from tests.serving.routes import POLICY, config, files
from tests.serving.running import (
    Request,
    Running,
    Step,
    Upstream,
    completion,
    event,
    reply,
    running,
    streamed,
    upstream,
)

Scene = Callable[[Running, dict[str, Upstream]], Awaitable[None]]

VERIFY = 'mode = "verify-first"\n'
SECOND = VERIFY + 'second_opinion = "small_b"\n'
BUSY = reply({"error": {"message": "busy"}}, status=503)


def says(text: str, **more: Any) -> Step:
    """An answer, streamed or not as it is asked for."""
    whole = reply(completion(text, **more))
    words = re.findall(r"\S+\s*", text)
    parts = [event({"role": "assistant", "content": ""}), *(event({"content": one}) for one in words)]
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    stream = streamed(*parts, event({}, finish="stop"), event(usage=usage), b"data: [DONE]\n\n")

    async def step(request: Request, writer: asyncio.StreamWriter) -> None:
        await (stream if request.json.get("stream") else whole)(request, writer)

    return step


def later(step: Step, after_s: float) -> Step:
    """The same, after a while."""

    async def late(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after_s)
        await step(request, writer)

    return late


THREE = (
    (POLICY.partition("[tiers.large]")[0].replace("[tiers.small]", "[tiers.medium]") + POLICY)
    .replace('["small", "large"]', '["small", "medium", "large"]')
    .replace("explore = 0.0", 'explore = 0.0\nstatic_tier = "small"')
)
"""Three tiers; no model knows them, so the static one is chosen."""


def play(
    scene: Scene, tmp_path: Path, *, cascade: str = VERIFY, more: str = "", policy: str = POLICY, **steps: Step
) -> None:
    """A gateway before these upstreams; whatever happens, each intent has one outcome and each place is free again."""
    section = more + files(tmp_path, policy=policy)

    async def all_of_it() -> None:
        async with asyncio.timeout(60):
            servers: dict[str, Upstream] = {}
            stacks = [upstream(step) for step in steps.values()]
            for name, stack in zip(steps, stacks, strict=True):
                servers[name] = await stack.__aenter__()
            try:
                ports: Any = {name: server.port for name, server in servers.items()}
                async with running(config(section, cascade, **ports)) as gateway:
                    await scene(gateway, servers)
                    await gateway.pools_empty()
                    assert gateway.memory.settled_once()
            finally:
                for stack in stacks:
                    await stack.__aexit__(None, None, None)

    uvloop.run(all_of_it())


def bill(gateway: Running) -> list[tuple[str, str | None, bool | None, str | None]]:
    """Role, reason, served and error of every attempt, in their order."""
    outcomes = {outcome.event_id: outcome for outcome in gateway.memory.outcomes}
    return [
        (one.attempt_role, one.attempt_reason, outcomes[one.event_id].served, outcomes[one.event_id].error_type)
        for one in gateway.memory.intents
    ]


def content(answered: Any) -> str:
    """The text of an answer."""
    return str(answered.json["choices"][0]["message"]["content"])
