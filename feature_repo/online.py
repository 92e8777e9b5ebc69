"""The hot-path reader: features of any entities and views in one round trip, or defaults that say why, in time.

    reader = OnlineReader(RedisSettings.from_environment(os.environ, user="gateway"))
    await reader.start()
    vector = await reader.read({"model_traffic_1m": [("openai", "gpt-4o")], "feature_spend": [("acme", "search")]})
    vector.traffic("model_traffic_1m")[0].values.error_ratio

`read` never raises for what the world does: Redis away, slow, empty or filled with something else is a status.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast, get_args, get_type_hints

import hiredis
import msgspec

from feature_repo.redis_connection import RedisConnection, RefusedError, connected
from feature_repo.redis_layout import (
    DECODERS,
    decoded_timestamp,
    entity_key,
    feature_field,
    key_frame,
    timestamp_field,
)
from feature_repo.settings import PROJECT, RedisSettings
from tokenledger.records.features import VIEWS, FeatureView, SpendFeatures, TrafficFeatures

Entity: TypeAlias = tuple[str, ...]
"""What names one entity: a value for each join key of the view, in its order."""
Record: TypeAlias = TrafficFeatures | SpendFeatures
R = TypeVar("R", bound=Record)

_CONNECT_WITHIN_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 2.0
_KEPT_KEYS: Final = 4096


class Status(StrEnum):
    """What is known of one entity's view."""

    PRESENT = "present"
    """Written and not older than its TTL; a feature that is None was not measured."""
    EXPIRED = "expired"
    """Written, but too long ago: the values are the defaults."""
    MISSING = "missing"
    """Never written: the values are the defaults."""
    ERROR = "error"
    """Not known in time; `reason` says why: the values are the defaults."""


class Reason(StrEnum):
    """Why a status is `error`."""

    DEADLINE = "deadline"
    """Redis did not answer in time."""
    DISCONNECTED = "disconnected"
    """There is no connection to Redis; it is being made again."""
    OVERLOADED = "overloaded"
    """Too many reads wait for Redis already."""
    REFUSED = "refused"
    """Redis answered with an error."""
    UNDECODABLE = "undecodable"
    """What stands in Redis is not what Feast writes for this view."""
    ENTITY_REFUSED = "entity_refused"
    """The entity's name is longer than 1024 bytes a value, or no Unicode text."""


class Features(msgspec.Struct, Generic[R], frozen=True, gc=False):
    """One view of one entity."""

    status: Status
    """What is known."""
    values: R
    """The features if present, else the defaults of the policy."""
    event_at_us: int | None = None
    """When they were true, µs UTC: the end of the newest minute in them. None if missing or error."""
    age_us: int | None = None
    """How long ago that was."""
    reason: Reason | None = None
    """Why, if the status is `error`."""


class FeatureVector(msgspec.Struct, frozen=True, gc=False):
    """The answer to one read: for each view, one `Features` for each entity, in the order they were asked."""

    views: dict[str, tuple[Features[Any], ...]]
    """View → its entities."""
    took_us: int
    """How long the read took."""

    def traffic(self, view: str) -> tuple[Features[TrafficFeatures], ...]:
        """A view of traffic."""
        return self.views[view]

    def spend(self, view: str) -> tuple[Features[SpendFeatures], ...]:
        """A view of spend."""
        return self.views[view]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPolicy:
    """How long to wait, and what holds instead of what is not known."""

    deadline_s: float = 0.005
    """A read that takes longer ends with defaults."""
    defaults: Mapping[str, Record] = field(default_factory=dict)
    """View → what is assumed of an entity that is not present; a view without one: nothing is (every feature None)."""
    max_in_flight: int = 1024
    """Reads that may wait for Redis at once."""
    stalled_after_s: float = 0.5
    """A connection that leaves a read unanswered for so long is given up and made again."""


class _Plan:
    """What one view asks of Redis and how it reads the answer."""

    def __init__(self, view: FeatureView, defaults: Record) -> None:
        self.view = view
        self.defaults = defaults
        self.frame = key_frame(PROJECT, view.join_keys)
        self.names = view.record.__struct_fields__
        self.decoders = [DECODERS[_scalar(hint)] for hint in get_type_hints(view.record).values()]
        fields = (timestamp_field(view.name), *(feature_field(view.name, name) for name in self.names))
        self.head = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(fields))
        self.tail = b"".join(b"\r\n$%d\r\n%s" % (len(name), name) for name in fields) + b"\r\n"
        self.missing: Features[Any] = Features(Status.MISSING, defaults)
        self.failed: dict[Reason, Features[Any]] = {
            reason: Features(Status.ERROR, defaults, None, None, reason) for reason in Reason
        }

    def features(self, reply: Any, *, now_us: int) -> Features[Any]:
        """The view, from the answer to its command."""
        if reply.__class__ is not list:
            return self.failed[Reason.REFUSED]
        stamp, *found = reply
        if stamp is None:
            return self.missing
        try:
            event_at_us = decoded_timestamp(stamp)
            age_us = max(now_us - event_at_us, 0)
            if age_us > self.view.ttl_us:
                return Features(Status.EXPIRED, self.defaults, event_at_us, age_us)
            decoded = [decode(value) for decode, value in zip(self.decoders, found, strict=True)]
        except ValueError:
            return self.failed[Reason.UNDECODABLE]
        record: Any = self.view.record
        return Features(Status.PRESENT, record(**dict(zip(self.names, decoded, strict=True))), event_at_us, age_us)


def _scalar(hint: Any) -> type:
    """`int` of `int | None`."""
    [scalar] = [member for member in get_args(hint) or (hint,) if member is not type(None)]
    return cast("type", scalar)


class OnlineReader:
    """Reads features over one connection that all requests of the event loop share."""

    def __init__(
        self,
        settings: RedisSettings,
        policy: ReadPolicy | None = None,
        *,
        views: Sequence[FeatureView] = VIEWS,
    ) -> None:
        self._settings = settings
        self._policy = policy or ReadPolicy()
        self._plans = {view.name: _Plan(view, self._policy.defaults.get(view.name, view.record())) for view in views}
        self._keys: dict[tuple[tuple[str, ...], Entity], bytes] = {}
        self._connection: RedisConnection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.defaults_served: Counter[tuple[str, str]] = Counter()
        """(view, why) → features served by default; why is a `Reason` or `expired` or `missing`. For /metrics."""

    async def start(self, *, within_s: float = 1.0) -> bool:
        """Begin to connect; whether there is a connection within this time. It is kept from then on."""
        self._keep()
        end_s = time.monotonic() + within_s
        while not self.connected and (left_s := end_s - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(self._changed.wait(), left_s)
            except TimeoutError:
                break
            self._changed.clear()
        return self.connected

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None and self._connection.open

    async def close(self) -> None:
        """Leave Redis alone."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def read(self, request: Mapping[str, Sequence[Entity]]) -> FeatureVector:
        """View → entities, read in one round trip. A view that does not exist is a KeyError, nothing else raises."""
        begun_s = time.perf_counter()
        plans = self._plans
        asked = [(plans[name], entity) for name, entities in request.items() for entity in entities]
        commands, sent = self._commands(asked)
        replies = await self._replies(commands, due=sum(sent))
        answers = iter(self._answers(asked, sent, replies=replies))
        views = {name: tuple([next(answers) for _ in entities]) for name, entities in request.items()}
        return FeatureVector(views, int((time.perf_counter() - begun_s) * 1e6))

    def _commands(self, asked: list[tuple[_Plan, Entity]]) -> tuple[bytes, list[bool]]:
        """All commands in one piece, and for whom there is one."""
        parts: list[bytes] = []
        sent = []
        for plan, entity in asked:
            key = self._keys.get((plan.view.join_keys, entity)) or self._key(plan, entity)
            sent.append(bool(key))
            if key:
                parts += (plan.head, key, plan.tail)
        return b"".join(parts), sent

    def _key(self, plan: _Plan, entity: Entity) -> bytes:
        """The entity's key as an argument; empty if its name is refused."""
        try:
            key = entity_key(plan.frame, entity)
        except ValueError:
            return b""
        argument = b"$%d\r\n%s" % (len(key), key)
        if len(self._keys) >= _KEPT_KEYS:
            self._keys.clear()
        self._keys[plan.view.join_keys, entity] = argument
        return argument

    async def _replies(self, commands: bytes, *, due: int) -> list[Any] | Reason:
        if not due:
            return []
        connection = self._connection
        if connection is None or not connection.open:
            self._keep()
            return Reason.DISCONNECTED
        if connection.oldest_s() > self._policy.stalled_after_s:
            connection.abort()
            return Reason.DISCONNECTED
        if connection.in_flight >= self._policy.max_in_flight:
            return Reason.OVERLOADED
        future = connection.send(commands, due=due)
        timer = future.get_loop().call_later(self._policy.deadline_s, _expire, future)
        try:
            replies = await future
        finally:
            timer.cancel()
        return Reason.DISCONNECTED if replies is None else replies

    def _answers(
        self, asked: list[tuple[_Plan, Entity]], sent: list[bool], *, replies: list[Any] | Reason
    ) -> list[Features[Any]]:
        now_us = time.time_ns() // 1000
        failure = replies if isinstance(replies, Reason) else None
        left = iter(replies if isinstance(replies, list) else ())
        answers = []
        for (plan, _), was_sent in zip(asked, sent, strict=True):
            if not was_sent:
                answer = plan.failed[Reason.ENTITY_REFUSED]
            elif failure is not None:
                answer = plan.failed[failure]
            else:
                answer = plan.features(next(left), now_us=now_us)
            if answer.status is not Status.PRESENT:
                self.defaults_served[plan.view.name, str(answer.reason or answer.status)] += 1
            answers.append(answer)
        return answers

    def _keep(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.get_running_loop().create_task(self._stay_connected(), name="features-redis")

    async def _stay_connected(self) -> None:
        """Connect, wait until the connection is lost, connect again; pauses grow and are shaken."""
        pause_s = 0.05
        while True:
            lost = asyncio.Event()
            try:
                self._connection = await connected(self._settings, lost.set, within_s=_CONNECT_WITHIN_S)
                self._changed.set()
                pause_s = 0.05
                await lost.wait()
            except (OSError, RefusedError, hiredis.HiredisError):
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            self._connection = None
            self._changed.set()
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  (no secret: readers must not knock in step)


def _expire(future: "asyncio.Future[Any]") -> None:
    if not future.done():
        future.set_result(Reason.DEADLINE)
