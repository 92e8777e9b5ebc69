"""One tier that is asked beside what else goes on, and ended when nobody needs its answer any more."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ledger.observing import logger
from serving.gateway.attempt import Attempt
from serving.gateway.errors import refused
from serving.gateway.gathering import Gathered
from serving.gateway.relay import Failed

log = logger("serving.gateway.cascade")

Work = Callable[["Trial"], Coroutine[Any, Any, Gathered | Failed]]


class Trial:
    """A task that makes attempts, one after another."""

    __slots__ = ("_why", "attempts", "task")

    def __init__(self, work: Work) -> None:
        self.attempts: list[Attempt] = []
        self._why: str | None = None
        self.task = asyncio.create_task(work(self))

    def intended(self, attempt: Attempt) -> None:
        """The attempt that is under way now."""
        self.attempts.append(attempt)

    @property
    def is_ended(self) -> bool:
        """Whether nobody needs it any more."""
        return self._why is not None

    async def result(self) -> Gathered | Failed:
        """What came of it. Whoever waits may be cancelled; the trial is not."""
        await asyncio.wait({self.task})
        return self.found()

    def found(self) -> Gathered | Failed:
        """What came of it. One that was ended, or that a defect of ours ended, failed."""
        if self.task.cancelled():
            return Failed(is_final=True)
        if (defect := self.task.exception()) is not None:
            log.error("an attempt failed by a defect", exc_info=defect)
            return Failed(refusal=refused(500, "the gateway failed", code="internal"), is_final=True)
        return self.task.result()

    def end(self, why: str, *, input_tokens_seen: int | None = None) -> None:
        """Nobody needs it: what is under way is broken off, and what was not sent yet never is."""
        if self.task.done() or self._why is not None:
            return
        self._why = why
        attempt = self.attempts[-1] if self.attempts else None
        if attempt is None or attempt.settled:
            self.task.cancel()
            return
        attempt.ended_by = why
        attempt.input_tokens_seen = input_tokens_seen
        if attempt.exchange is None:
            self.task.cancel()
        else:  # an exchange that is over has its answer: the task is about to take it
            attempt.exchange.fail(why)
