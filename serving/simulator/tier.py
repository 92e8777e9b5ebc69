"""One tier while it runs: its slots and queue, its pace under load, what it is told to get wrong."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from serving.simulator.answering import Label
from serving.simulator.config import Change, Fault, Tier
from serving.simulator.wire import Counts

_REMEMBERED_PROMPTS = 10_000
_SHORTEST_SLEEP_S = 0.0005


class Overloaded(Exception):  # noqa: N818 - it reads as what it says
    """The queue is full."""


class RunningTier:
    """The state of one tier."""

    def __init__(self, tier: Tier, labels: Mapping[str, Label], *, seed: int) -> None:
        self.tier = tier
        self.labels = labels
        self.faults: dict[Fault, float] = dict(tier.faults)
        self.slowdown = 1.0
        self.active = self.waiting = self.served = 0
        self._random = random.Random(f"{seed}\x1f{tier.name}")  # noqa: S311 - times and failures, no secrets
        self._slots = asyncio.Semaphore(tier.slots)
        self._prompts: dict[bytes, None] = {}

    def change(self, change: Change) -> None:
        """Takes what the controls say; what they leave out stays."""
        if change.faults is not None:
            self.faults = dict(change.faults)
        if change.slowdown is not None:
            self.slowdown = change.slowdown

    def fault(self, demanded: str | None) -> Fault | None:
        """What goes wrong with the next request: what it demands, else what chance says."""
        draw = self._random.random()
        if demanded:
            return Fault(demanded) if demanded in Fault._value2member_map_ else None
        for fault, probability in self.faults.items():
            draw -= probability
            if draw < 0:
                return fault
        return None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Held while a request is answered. Raises Overloaded where too many wait already."""
        if self._slots.locked() and self.waiting >= self.tier.queue_limit:
            raise Overloaded
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self.served += 1
            self._slots.release()

    def remembers(self, key: bytes | None) -> bool:
        """Whether the prompt cache knew this beginning; it does from now on."""
        if key is None:
            return False
        known = key in self._prompts
        self._prompts.pop(key, None)  # put back as the youngest
        self._prompts[key] = None
        if len(self._prompts) > _REMEMBERED_PROMPTS:
            del self._prompts[next(iter(self._prompts))]
        return known

    def pace(self, counts: Counts) -> "Pace":
        """The times of a request that starts now, among those that are being answered."""
        tier = self.tier
        pressure = self.slowdown * (1 + tier.load_slowdown * max(self.active - 1, 0) / tier.slots)
        fresh = counts.prompt_tokens - counts.cached_tokens
        prefill_us = tier.prefill_us_per_1k_tokens * fresh / 1000
        token_us = _lognormal(self._random, median=tier.tpot_us_p50, sigma=tier.tpot_sigma) * pressure
        first_us = (_lognormal(self._random, median=tier.ttft_us_p50, sigma=tier.ttft_sigma) + prefill_us) * pressure
        return Pace(first_us / 1e6 + counts.reasoning_tokens * token_us / 1e6, token_us / 1e6)


class Pace:
    """When the tokens of one answer come, from when it was made."""

    def __init__(self, first_s: float, token_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._first_at = self._loop.time() + first_s
        self._token_s = token_s

    async def until(self, token: int) -> None:
        """Returns when that token is due, counted from 0."""
        wait_s = self._first_at + token * self._token_s - self._loop.time()
        if wait_s > _SHORTEST_SLEEP_S:
            await asyncio.sleep(wait_s)


def _lognormal(source: random.Random, *, median: float, sigma: float) -> float:
    return median * math.exp(sigma * source.gauss(0, 1))
