"""An upstream's reply without its texts: what the ledger needs of it, decoded without building the rest. Pure."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

T = TypeVar("T")
Members = dict[str, Raw]
_encode: Final = msgspec.json.Encoder().encode

_EMPTY: Final = frozenset({b'""', b"null", b"[]"})
_UNSAID: Final = frozenset({b"null", b"{}"})


class _Delta(msgspec.Struct, gc=False):
    content: Raw | UnsetType = UNSET
    reasoning_content: Raw | UnsetType = UNSET
    reasoning: Raw | UnsetType = UNSET
    tool_calls: Raw | UnsetType = UNSET
    function_call: Raw | UnsetType = UNSET
    refusal: Raw | UnsetType = UNSET
    audio: Raw | UnsetType = UNSET

    def has_content(self) -> bool:
        """Whether it carries anything the model made."""
        values = (
            self.content,
            self.reasoning_content,
            self.reasoning,
            self.tool_calls,
            self.function_call,
            self.refusal,
            self.audio,
        )
        return any(value is not UNSET and bytes(value) not in _EMPTY for value in values)


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    finish_reason: str | None = None
    usage: Raw | UnsetType = UNSET
    delta: _Delta | None = None


class _Head(msgspec.Struct, gc=False):
    """What a reply and a chunk have in common. Engines' own durations are kept for the ledger."""

    id: str | None = None
    object: str | None = None
    created: Raw | UnsetType = UNSET
    model: str | None = None
    provider: str | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    usage: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    x_groq: Raw | UnsetType = UNSET
    timings: Raw | UnsetType = UNSET
    time_info: Raw | UnsetType = UNSET
    metrics: Raw | UnsetType = UNSET


class Chunk(_Head, gc=False):
    """One chunk of a stream."""

    choices: list[_Choice] | None = None

    def has_content(self) -> bool:
        """Whether any choice carries anything the model made."""
        return any(choice.delta is not None and choice.delta.has_content() for choice in self.choices or ())

    def is_usage_only(self) -> bool:
        """The chunk that exists only because usage was asked for."""
        return not self.choices and self.usage is not UNSET and bytes(self.usage) != b"null"


class _Message(msgspec.Struct, gc=False):
    index: int | None = None
    finish_reason: str | None = None
    usage: Raw | UnsetType = UNSET


class _Reply(_Head, gc=False):
    choices: list[_Message] | None = None


class _Error(msgspec.Struct, gc=False):
    type: Any = None
    code: Any = None
    param: Any = None
    status: Any = None


_chunk: Final = msgspec.json.Decoder(Chunk)
_reply: Final = msgspec.json.Decoder(_Reply)
_error: Final = msgspec.json.Decoder(_Error)
_members: Final = msgspec.json.Decoder(Members)
_text: Final = msgspec.json.Decoder(str)
_each: Final = msgspec.json.Decoder(list[Raw])
_choice: Final = msgspec.json.Decoder(_Choice)

_RAW: Final = ("created", "usage", "x_groq", "timings", "time_info", "metrics")
_TEXTS: Final = ("id", "object", "model", "provider", "service_tier", "system_fingerprint")
_raws: Final = attrgetter(*_RAW)
_texts: Final = attrgetter(*_TEXTS)
_WRONG: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def chunk_of(data: bytes) -> Chunk | None:
    """A chunk, or None for what is none."""
    try:
        return _chunk.decode(data)
    except msgspec.ValidationError:
        return _mended(data)
    except _WRONG:
        return None


def _mended(data: bytes) -> Chunk | None:
    """A chunk some of whose fields have types nobody expects: without these."""
    try:
        members = _members.decode(data)
        chunk = Chunk(**{name: members[name] for name in (*_RAW, "error") if name in members})  # type: ignore[arg-type]
        for name in _TEXTS:
            if name in members:
                setattr(chunk, name, _decoded(_text, members[name]))
    except _WRONG:
        return None
    if "choices" in members and bytes(members["choices"]) not in _EMPTY:
        choices = _decoded(_each, members["choices"]) or ()
        # One that cannot be read is one all the same: the caller is to see the event.
        chunk.choices = [_decoded(_choice, one) or _Choice() for one in choices] or [_Choice()]
    return chunk


def _decoded(decoder: msgspec.json.Decoder[T], value: Raw) -> T | None:
    try:
        return decoder.decode(value)
    except _WRONG:
        return None


def reports_usage(reply: Mapping[str, Any]) -> bool:
    """Whether a reply says what was counted: in its `usage`, in Groq's `x_groq`, or in llama.cpp's `timings`."""
    return (
        _says(reply.get("usage"))
        or _says(_within(reply.get("x_groq"), "usage"))
        or _says(_within(reply.get("timings"), "prompt_n"))
    )


def _says(value: Raw | None) -> bool:
    return value is not None and bytes(value) not in _UNSAID


def _within(value: Raw | None, name: str) -> Raw | None:
    if value is None:
        return None
    try:
        return _members.decode(value).get(name)
    except _WRONG:
        return None


class Facts:
    """What is known of a reply so far; a later value that says anything counts."""

    __slots__ = ("_choice_usage", "error", "finishes", "id", "values")

    def __init__(self) -> None:
        self.id: str | None = None
        self.values: dict[str, Any] = {}
        self.finishes: dict[int, str | None] = {}
        self.error: Raw | None = None
        self._choice_usage: Raw | None = None
        """Moonshot's, which it puts into a choice of the last chunk."""

    @property
    def has_usage(self) -> bool:
        """Whether the upstream said what it counted."""
        return self._choice_usage is not None or reports_usage(self.values)

    def take(self, chunk: Chunk | _Reply) -> None:
        """Add what a chunk or a reply says."""
        self._take_head(chunk)
        for choice in chunk.choices or ():
            index = choice.index or 0
            if choice.finish_reason or index not in self.finishes:
                self.finishes[index] = choice.finish_reason
            if choice.usage is not UNSET and _says(choice.usage) and bytes(choice.usage)[:1] == b"{":
                self._choice_usage = Raw(bytes(choice.usage))

    def _take_head(self, head: _Head) -> None:
        values = self.values
        for name, text in zip(_TEXTS, _texts(head), strict=True):
            if text:
                values[name] = text[:256]
        for name, raw in zip(_RAW, _raws(head), strict=True):
            # A copy: a piece of the reply would keep the whole of it in memory.
            if raw is not UNSET and (value := bytes(raw)) not in _UNSAID:
                values[name] = Raw(value)
        if head.error is not UNSET and bytes(head.error) != b"null":
            self.error = _bare_error(head.error)
        # A stream without ids is a stream whose first chunk was seen.
        self.id = values.get("id") or self.id or ""

    def encoded(self) -> Raw | None:
        """The reply without its texts, None where nothing is known."""
        if not self.values and self.error is None and not self.finishes:
            return None
        body = dict(self.values)
        if self._choice_usage is not None:
            body.setdefault("usage", self._choice_usage)
        if body.get("object") == "chat.completion.chunk":
            body["object"] = "chat.completion"
        if self.finishes:
            body["choices"] = [{"index": at, "finish_reason": why} for at, why in sorted(self.finishes.items())]
        if self.error is not None:
            body["error"] = self.error
        return Raw(_encode(body))


def _bare_error(error: Raw) -> Raw:
    """Type and code of an error; its message may quote the prompt."""
    try:
        found = _error.decode(error)
    except _WRONG:
        return Raw(b'{"type":"error"}')
    kept = {name: value for name in found.__struct_fields__ if isinstance(value := getattr(found, name), str | int)}
    return Raw(_encode(kept or {"type": "error"}))


def facts_of(body: bytes) -> Facts | None:
    """What a reply that is not streamed says; None where it is no JSON object."""
    facts = Facts()
    try:
        facts.take(_reply.decode(body))
    except msgspec.ValidationError:
        return _salvaged(body)
    except _WRONG:
        return None
    return facts


def _salvaged(body: bytes) -> Facts | None:
    """A reply some of whose fields have types nobody expects."""
    try:
        members = _members.decode(body)
    except _WRONG:
        return None
    facts = Facts()
    facts.id = ""
    # Copies: a piece of the reply would keep the whole of it in memory.
    kept = {name: bytes(members[name]) for name in ("id", "model", *_RAW) if name in members}
    facts.values = {name: Raw(value) for name, value in kept.items() if value not in _UNSAID}
    if (error := members.get("error")) is not None and bytes(error) != b"null":
        facts.error = _bare_error(error)
    return facts
