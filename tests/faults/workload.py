"""The traffic of one seed: every record, and beside it what the ledger must make of it.

The same seed, start and rate give the same records byte for byte, so a producer that died can go on where it was.
"""

import heapq
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final, NamedTuple

import msgspec

from tests.faults.rates import amount_pico
from tests.faults.shapes import (
    NEW,
    OLD,
    Make,
    Shape,
    chat,
    messages_broken_off,
    messages_to_the_end,
    ollama,
)

TENANTS: Final = 50
FEATURES: Final = 12
_CONTRACT_RANK: Final = 3
_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US
_DISORDER_US: Final = 600_000_000
_SOON, _MUCH_LATER = 2_000, 40_000
_encode: Final = msgspec.json.encode
Entry = dict[str, Any]


class Run(NamedTuple):
    """What fixes the traffic."""

    seed: int
    events: int
    """Records to send, duplicates and poison included."""
    start_us: int
    """When it begins, whole seconds in µs UTC; also the instant from which the edited price holds."""
    rate: int
    """Records a second that event times assume."""
    prefix: str
    """What its tenants' names begin with."""

    @property
    def contract_tenant(self) -> str:
        """The tenant with a discount."""
        return f"{self.prefix}-{_CONTRACT_RANK:02}"


class Event(NamedTuple):
    """One record to send."""

    n: int
    """Number in the run, in order of sending."""
    key: bytes
    value: bytes | None
    headers: dict[str, bytes]
    entry: Entry
    """What the journal says of it: what the ledger must hold because of it."""


class _Record(NamedTuple):
    key: bytes
    value: bytes | None
    headers: dict[str, bytes]
    entry: Entry


class _Caller(NamedTuple):
    """Who calls, for what and when."""

    tenant: str
    event_id: str
    feature: str
    at_us: int


class Traffic:
    """Makes the records of one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.dice = random.Random(f"faults/{run.seed}")  # noqa: S311 - a seed must repeat
        self._weights = list(accumulate(1 / rank for rank in range(1, TENANTS + 1)))
        self._ranks = range(1, TENANTS + 1)
        self._old, self._new = (list(accumulate(weight for _, weight in table)) for table in (OLD, NEW))
        self._made = 0

    def events(self) -> Iterator[Event]:
        """All records in order of sending, those that come again later among them."""
        waiting: list[tuple[int, int, _Record]] = []
        n = serial = 0
        while n < self.run.events:
            if waiting and waiting[0][0] <= n:
                record = heapq.heappop(waiting)[2]
            else:
                record, *later = self._call(n)
                for one in later:
                    serial += 1
                    heapq.heappush(waiting, (n + self.dice.randrange(1, _SOON), serial, one))
            yield Event(n, record.key, record.value, record.headers | {"faults_n": b"%d" % n}, record.entry)
            if self.dice.random() < 0.05:
                serial += 1
                delay = _MUCH_LATER if self.dice.random() < 0.1 else _SOON
                again = record._replace(entry={"first": record.entry.get("first", n)})
                heapq.heappush(waiting, (n + self.dice.randrange(1, delay), serial, again))
            n += 1

    def _call(self, n: int) -> list[_Record]:
        """One thing that happened: usually one record, sometimes several."""
        chance = self.dice.random()
        caller = self.caller(n)
        if chance < 0.010:
            return [_poison(self.dice, caller)]
        for limit, several in _SEVERAL:
            if chance < limit:
                return several(self, caller)
        # Producers are upgraded one after the other: until half of the run nobody sends the new shapes, then more do.
        is_new = n > self.run.events // 2
        table, weights = (NEW, self._new) if is_new else (OLD, self._old)
        make: Make = self.dice.choices(table, cum_weights=weights)[0][0]
        return [self.record(caller, make(self.dice, self.response_id()))]

    def response_id(self) -> str:
        """The id of the next reply."""
        self._made += 1
        return f"rsp-{self.run.prefix}-{self.run.seed}-{self._made}"

    def caller(self, n: int) -> _Caller:
        """Who makes the n-th call, and when."""
        dice = self.dice
        rank = dice.choices(self._ranks, cum_weights=self._weights)[0]
        at_us = self.run.start_us + n * 1_000_000 // self.run.rate - int(dice.random() * _DISORDER_US)
        chance = dice.random()
        if chance < 0.003:
            at_us += dice.randrange(2 * _DAY_US, 300 * _DAY_US)
        elif chance < 0.023:
            at_us -= dice.randrange(_HOUR_US, 6 * _HOUR_US)
        elif chance < 0.028:
            at_us -= dice.randrange(_DAY_US, 8 * _DAY_US)
        elif chance < 0.030:
            at_us -= dice.randrange(8 * _DAY_US, 60 * _DAY_US)
        self._made += 1
        tenant = f"{self.run.prefix}-{rank:02}"
        event_id = f"ev-{self.run.seed}-{self._made}"
        return _Caller(tenant, event_id, f"feature-{dice.randrange(FEATURES)}", at_us)

    def record(self, caller: _Caller, shape: Shape, *, revision: int = 0) -> _Record:
        """The record of one reply, and what it is worth."""
        data: dict[str, Any] = {
            "provider": shape.provider, "feature": caller.feature, "started_at_us": caller.at_us,
            "ended_at_us": caller.at_us + 1_200_000, **shape.data,
        }  # fmt: skip
        if revision:
            data["revision"] = revision
        return _Record(_key(caller), _encode(data), _headers(caller), self._entry(caller, shape, revision))

    def _entry(self, caller: _Caller, shape: Shape, revision: int) -> Entry:
        has_contract = caller.tenant == self.run.contract_tenant
        # A time far ahead is not believed: the log's own time chooses the price, and that lies after the edit, too.
        is_edited = caller.at_us >= self.run.start_us
        lines = {
            meter: (quantity, amount_pico((shape.provider, shape.model), meter, quantity,
                                          is_edited=is_edited, has_contract=has_contract))
            for meter, quantity in shape.meters.items()
        }  # fmt: skip
        source = 3 if shape.meters else 0
        total = sum(shape.meters.values())
        return {
            "kind": "call",
            "tenant": caller.tenant,
            "event": caller.event_id,
            "call": _call_name(caller, shape),
            "feature": caller.feature,
            "model": shape.model,
            "at_us": caller.at_us,
            "lines": lines,
            "is_complete": bool(shape.meters) or shape.status == "error",
            "weight": (revision, source, 2 if shape.status != "aborted" else 1, total),
        }

    def other(self, shape: Shape, make: Make, response_id: str) -> Shape:
        """A reply of the same kind that used another amount, so that which of the two counts is certain."""
        while True:
            found = make(self.dice, response_id)
            if sum(found.meters.values()) != sum(shape.meters.values()):
                return found


def _call_name(caller: _Caller, shape: Shape) -> str:
    if not shape.has_response_id:
        return f"e:{caller.event_id}"
    data = shape.data
    if "response" in data:
        return f"r:{data['response'].get('id') or data['response']['responseId']}"
    if "events" in data:
        return f"r:{data['events'][0]['data']['message']['id']}"
    return "r:" + str(data["stream_text"]).split('"', 4)[3]


def _key(caller: _Caller) -> bytes:
    return f"{caller.tenant}/{caller.event_id}".encode()


def _headers(caller: _Caller) -> dict[str, bytes]:
    sent_at = datetime.fromtimestamp(caller.at_us / 1_000_000, UTC).isoformat()
    return {
        "ce_id": caller.event_id.encode(), "ce_source": b"faults", "ce_type": b"llm.call.v1",
        "ce_time": sent_at.encode(), "ce_tenantid": caller.tenant.encode(), "content-type": b"application/json",
    }  # fmt: skip


# Things that take several records to tell


def _two_replies_under_one_id(traffic: Traffic, caller: _Caller) -> list[_Record]:
    """Two replies under one event id are two calls; both are charged, both are flagged."""
    return [traffic.record(caller, chat(traffic.dice, traffic.response_id())) for _ in range(2)]


def _two_stories_of_one_reply(traffic: Traffic, caller: _Caller) -> list[_Record]:
    """One reply told twice with other counts: one call, and the greater total counts."""
    response_id = traffic.response_id()
    first = chat(traffic.dice, response_id)
    return [traffic.record(caller, one) for one in (first, traffic.other(first, chat, response_id))]


def _two_stories_without_reply_id(traffic: Traffic, caller: _Caller) -> list[_Record]:
    """The same where only the event's id says that it is one call."""
    first = ollama(traffic.dice, "")
    return [traffic.record(caller, one) for one in (first, traffic.other(first, ollama, ""))]


def _one_reply_under_two_ids(traffic: Traffic, caller: _Caller) -> list[_Record]:
    """One reply reported by two producers under ids of their own: one call."""
    shape = chat(traffic.dice, traffic.response_id())
    return [traffic.record(caller, shape), traffic.record(caller._replace(event_id=f"{caller.event_id}-again"), shape)]


def _a_stream_and_its_end(traffic: Traffic, caller: _Caller) -> list[_Record]:
    """First the half that was seen when the connection broke, then all of it: the whole counts."""
    response_id = traffic.response_id()
    makes = (messages_broken_off, messages_to_the_end)
    return [traffic.record(caller, make(traffic.dice, response_id)) for make in makes]


def _a_restatement(traffic: Traffic, caller: _Caller) -> list[_Record]:
    """The producer corrects itself: the greater revision counts, whatever it says."""
    response_id = traffic.response_id()
    first = chat(traffic.dice, response_id)
    second = traffic.other(first, chat, response_id)
    return [traffic.record(caller, first), traffic.record(caller, second, revision=1)]


_SEVERAL: Final[tuple[tuple[float, Callable[[Traffic, _Caller], list[_Record]]], ...]] = (
    (0.013, _two_replies_under_one_id),
    (0.016, _two_stories_of_one_reply),
    (0.019, _two_stories_without_reply_id),
    (0.022, _one_reply_under_two_ids),
    (0.026, _a_stream_and_its_end),
    (0.029, _a_restatement),
)


# What no reader can understand


def _poison(dice: random.Random, caller: _Caller) -> _Record:
    reason, value = dice.choice(_POISONS)
    headers = _headers(caller)
    if reason == "unknown_type":
        headers["ce_type"] = b"llm.call.v999"
    if reason == "missing_tenant":
        del headers["ce_tenantid"]
    entry = {"kind": "poison", "tenant": caller.tenant, "reason": reason}
    return _Record(_key(caller), value, headers, entry)


def _chat_with(usage: dict[str, int | dict[str, int]]) -> bytes:
    choices = [{"index": 0, "message": {}, "finish_reason": "stop"}]
    reply = {"object": "chat.completion", "model": "faults-gpt", "choices": choices, "usage": usage}
    return _encode({"provider": "openai", "api": "chat", "response": reply})


_GOOD: Final = _chat_with({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10})
_POISONS: Final[tuple[tuple[str, bytes | None], ...]] = (
    ("tombstone", None),
    ("empty", b"  \n"),
    ("invalid_json", _GOOD[:-9]),
    ("invalid_json", b'{"provider": "openai", "response": NaN}'),
    ("invalid_utf8", b'{"provider": "\xff\xfe"}'),
    ("invalid_envelope", b'{"provider": ["openai"], "response": {}}'),
    ("unknown_shape", b'{"provider": "nobody", "response": {"hello": "world"}}'),
    ("invalid_count", _chat_with({"prompt_tokens": -5, "completion_tokens": 5, "total_tokens": 0})),
    (
        "contradicting_usage",
        _chat_with({"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}),
    ),
    ("unknown_type", _GOOD),
    ("missing_tenant", _GOOD),
)
