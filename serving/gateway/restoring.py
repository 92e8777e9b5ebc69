"""What earlier gateway processes, and others beside this one, spent or reserved and the ledger may not have yet.

Read from the outbox at the start. An attempt counts with its known cost, or with what was reserved for it; the ledger
is then asked about each, and those it has charged no longer count. What was shipped longer ago than the shipper keeps
segments, and is not in the ledger yet, is not seen here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from serving.gateway import epochs
from serving.gateway.defects import survived
from serving.gateway.envelopes import event_key, raw_event
from serving.gateway.records import Intent, Outcome
from serving.gateway.tailing import Tail
from serving.gateway.unsynced import left
from tokenledger.process import Context, process
from tokenledger.records import PricedCall


class Attempt(NamedTuple):
    """One attempt, and what it is to be held with."""

    event_key: str
    tenant_id: str
    feature: str | None
    at_us: int
    amount_usd_pico: int


def unsettled(root: Path, own: str, *, context: Context) -> list[Attempt]:
    """Attempts of all epochs but this process's own."""
    return [attempt for folder in epochs.listed(root) if folder.name != own for attempt in _of_epoch(folder, context)]


def _of_epoch(folder: Path, context: Context) -> Iterator[Attempt]:
    try:
        first = min(epochs.segments(folder), default=0)
    except FileNotFoundError:
        return  # shipped to its end just now
    tail = Tail(folder)
    tail.place = tail.place._replace(segment=first)
    intents: dict[str, tuple[Intent, Outcome | None]] = {}
    try:
        while found := tail.read():
            for one in found:
                if isinstance(one, Intent):
                    intents.setdefault(one.event_id, (one, None))
                elif (known := intents.get(one.event_id)) is not None:
                    intents[one.event_id] = (known[0], one)
    except FileNotFoundError:
        pass  # the rest was shipped while it was read
    for one in left(folder):
        if one.event_id in intents:
            intents[one.event_id] = (intents[one.event_id][0], one)
    for intent, outcome in intents.values():
        amount = (
            intent.reserved_usd_pico if outcome is None else _cost(intent, outcome, epoch=folder.name, context=context)
        )
        key = event_key(folder.name, intent.event_id)
        yield Attempt(key, intent.tenant_id, intent.feature, intent.started_at_us, amount)


def _cost(intent: Intent, outcome: Outcome, *, epoch: str, context: Context) -> int:
    priced = survived("restored", lambda: process(raw_event(intent, outcome, epoch=epoch), context))
    known = priced.cost_usd_pico if isinstance(priced, PricedCall) else None
    return intent.reserved_usd_pico if known is None else known
