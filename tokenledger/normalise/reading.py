"""What one dialect reads out of one reply, and how it says that the reply cannot be read."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from tokenledger.records.call import ModelShare, Timings
from tokenledger.records.reasons import Anomaly, Reason

MAX_COUNT: Final = 2**53
"""Counts above this are damaged by JSON readers that use doubles, so no producer can mean them."""

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
"""A count, for usage objects that are checked whole."""
Zero: TypeAlias = Literal[0] | None
"""A count that says nothing."""
Word: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)]
"""A tier or a modality, not a sentence."""

_NUMBERS: Final = (int, Decimal)
_YEAR_10000_SECONDS: Final = 253_402_300_800
_AMOUNT_LIMIT_USD: Final = 9_000_000  # 2^63 pico-dollars are 9.2 million

Body: TypeAlias = Mapping[str, Any]
"""A decoded JSON object."""


class BadRecordError(Exception):
    """The reply contradicts itself or cannot be read; `normalise` turns it into a Rejected."""

    def __init__(self, reason: Reason, field: str, detail: str) -> None:
        super().__init__(reason, field, detail)
        self.reason = reason
        self.field = field
        self.detail = detail


class Event(NamedTuple):
    """One decoded event of a stream."""

    name: str | None
    """SSE event name or AWS `:event-type`."""
    data: Any
    """Decoded data."""


class Exchange(msgspec.Struct, gc=False):
    """What is known of the call besides the reply itself; a dialect may look, not write."""

    provider: str
    """Canonical provider name, or the producer's word where the registry does not know it; "" if not stated."""
    api: str | None = None
    """The envelope's `api`."""
    url: str = ""
    """Request URL or path."""
    request_model: str | None = None
    """As stated by the envelope or the request."""
    request: Body = {}
    """The request body, or the part of it that was kept."""
    headers: Mapping[str, str] = {}
    """Response headers, names in lower case."""
    http_status: int | None = None
    """HTTP status."""


class Reading(msgspec.Struct, kw_only=True, gc=False):
    """What a reply says, in our terms. A dialect fills in what it finds."""

    # What most dialects fill in by name comes first: finding a name costs time for each field before it.

    usage_reading: str
    """Name of the convention, such as `openai.chat`."""
    api: str | None = None
    """The API this reply belongs to."""
    response_id: str | None = None
    """The reply's id."""
    response_model: str | None = None
    """The model the reply names."""
    service_tier: str | None = None
    """The tier that served."""
    created_at_us: int | None = None
    """The provider's creation time, µs UTC."""
    finish_reason: str | None = None
    """Why it stopped."""
    deployment_id: str | None = None
    """Deployment, where the URL names one (Azure)."""
    usage: dict[str, int] = {}
    """Disjoint leaves, zero leaves left out unless stated."""
    input_tokens: int | None = None
    """Inclusive input total."""
    output_tokens: int | None = None
    """Inclusive output total."""
    explicit_leaves: int = 0
    """Leaves read from fields of their own."""
    raw_usage: dict[str, Any] | None = None
    """The provider's usage object; None means no usage was reported."""
    textless: dict[str, Any] | None = None
    """The same object, where it was found to hold nothing but counts and short words: no text need be looked for."""
    shares: tuple[ModelShare, ...] = ()
    """Parts that other models consumed."""
    usage_source: str = "reported"
    """Set to `estimated` or `counted` where the reply says that it is one."""
    provider: str | None = None
    """The provider, where the reply itself gives it away (an OpenRouter reply under provider `openai`)."""
    host_provider: str | None = None
    """Who runs the model, where the reply says so."""
    request_model: str | None = None
    """The model the URL names, where neither envelope nor request do."""
    processing: str | None = None
    """`batch`, where the reply says so."""
    speed: str | None = None
    """Speed that served."""
    region: str | None = None
    """Geography that served."""
    error_type: str | None = None
    """Set for an error reply."""
    status: str = "ok"
    """`ok`, `error`, `aborted`, `in_progress`."""
    billed_usd_pico: int | None = None
    """Amount the provider says it billed."""
    engine: str | None = None
    """Self-hosted engine, where the reply gives it away."""
    timings: Timings | None = None
    """Durations the engine measured."""
    anomalies: list[str] = []
    """What was odd."""

    def note(self, anomaly: Anomaly) -> None:
        """Add an anomaly once."""
        if anomaly.value not in self.anomalies:
            self.anomalies.append(anomaly.value)


Read: TypeAlias = Callable[[Body, Exchange], Reading]
Fold: TypeAlias = Callable[[list[Event]], tuple[Body, bool]]


class Dialect(NamedTuple):
    """One wire format: how to know it, read it, and fold its stream into what `read` understands."""

    name: str
    """Such as `openai.chat`."""
    fits: Callable[[Body, Exchange], bool]
    """Whether a reply (or, for a stream, one of its events) has this shape."""
    read: Read
    """A whole reply → its Reading. Total: any object may come out of a stream's events. Raises BadRecordError."""
    fold: Fold
    """Events of a stream → (a reply that `read` understands, whether the stream came to its end)."""


_OF_NOBODY: Final = Exchange(provider="")


def last_of(fits: Callable[[Body, Exchange], bool]) -> Fold:
    """The fold of what is no stream but may be recorded as one: its last event of the shape, which states the whole."""

    def fold(events: list[Event]) -> tuple[Body, bool]:
        objects = [event.data for event in reversed(events) if event.data.__class__ is dict]
        return next((body for body in objects if fits(body, _OF_NOBODY)), objects[0] if objects else {}), True

    return fold


def count(holder: Body, name: str, path: str) -> int | None:
    """The count under `name`: absent and null are None. Raises BadRecordError for what is no count."""
    value = holder.get(name)
    if value is None:
        return None
    if value.__class__ is int and 0 <= value <= MAX_COUNT:
        return value
    if isinstance(value, Decimal) and 0 <= value <= MAX_COUNT and value == value.to_integral_value():
        return int(value)  # Cohere sends whole numbers as floats
    raise BadRecordError(
        Reason.INVALID_COUNT, f"{path}.{name}", f"found {_brief(value)}; a whole number from 0 to 2^53 would be right"
    )


def part(holder: Body, name: str, path: str) -> Body:
    """The object under `name`; absent and null are an empty one. Raises BadRecordError for anything else."""
    value = holder.get(name)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise BadRecordError(Reason.INVALID_COUNT, f"{path}.{name}", f"found {_brief(value)}; an object would be right")


def text(holder: Body, name: str) -> str | None:
    """The text under `name`; absent, null, blank and other types are None."""
    value = holder.get(name)
    return value if value.__class__ is str and value else None


def seconds_to_us(value: object) -> int | None:
    """A Unix time in seconds as µs; None where it is not one."""
    if value.__class__ is int and 0 < value < _YEAR_10000_SECONDS:
        return value * 1_000_000
    if isinstance(value, Decimal) and 0 < value < _YEAR_10000_SECONDS:
        return int(value * 1_000_000)
    return None


def usd_to_pico(value: object, path: str) -> int | None:
    """An amount in USD as pico-USD, rounded half to even. Raises BadRecordError for what is no amount."""
    if value is None:
        return None
    if value.__class__ in _NUMBERS and 0 <= value < _AMOUNT_LIMIT_USD:  # True is no amount
        return int((Decimal(value) * 10**12).to_integral_value())
    raise BadRecordError(
        Reason.INVALID_AMOUNT, path, f"found {_brief(value)}; an amount in USD from 0 to 9,000,000 would be right"
    )


def _brief(value: object) -> str:
    return f"{type(value).__name__} {value!r:.40}"
