"""The messages of a request as the cache reads them: the question, and all that stands around it. Pure."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

_WRONG: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encode: Final = msgspec.json.Encoder().encode


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: Any = None
    tool_calls: Raw | UnsetType = UNSET
    tool_call_id: Raw | UnsetType = UNSET


_messages: Final = msgspec.json.Decoder(list[_Message])
_APPLICATION: Final = frozenset({"system", "developer"})
_raw_messages: Final = msgspec.json.Decoder(list[Raw])
_raw_members: Final = msgspec.json.Decoder(dict[str, Raw])


class Asking(msgspec.Struct, frozen=True, gc=False):
    """What the messages say."""

    question: str
    """Text of the last message, where that is the user's; else empty."""
    texts: tuple[str, ...]
    """Every text that users and models said; what the application says of itself is left out."""
    roles: frozenset[str]
    """Who speaks."""
    media: bool
    """Whether anything but text is there."""
    turns: int
    """Messages of users and models."""


def asking_of(messages: Raw) -> Asking | None:
    """What the messages say; None for what is no list of messages."""
    try:
        found = _messages.decode(messages)
    except _WRONG:
        return None
    texts: list[str] = []
    media = False
    for message in found:
        own = _texts(message.content)
        media = media or own is None
        if message.role not in _APPLICATION:
            texts += own or ()
    turns = sum(message.role not in _APPLICATION for message in found)
    last = found[-1] if found else None
    own = _texts(last.content) if last is not None and last.role == "user" else None
    roles = frozenset(
        "tool"
        if message.tool_calls is not UNSET and bytes(message.tool_calls) not in {b"null", b"[]"}
        else message.role
        for message in found
    )
    return Asking("\n".join(own).strip() if own else "", tuple(texts), roles, media, turns)


def _texts(content: Any) -> list[str] | None:
    """Texts of one message; None where there is more than text."""
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return None
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    strings = [text for text in texts if isinstance(text, str)]
    return strings if len(strings) == len(content) else None


def around(messages: Raw) -> Raw:
    """The messages without the last one's text: earlier messages and the last one's other members, byte by byte."""
    every = _raw_messages.decode(messages)
    last = _raw_members.decode(every[-1])
    last.pop("content", None)
    return Raw(_encode([*every[:-1], last]))
