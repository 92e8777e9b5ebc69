"""A request's body → what the router may see of it. Pure, bounded by the body's own bound, and never a failure.

What cannot be read counts as context: a prompt without text is unlike any the router learnt from.
"""

from itertools import takewhile
from typing import Final

import msgspec
from msgspec import Raw

from serving.gateway.requests import Members
from serving.router.features import Prompt

_ASKING: Final = "user"
_TURNS: Final = frozenset({"user", "assistant"})
_WRONG: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: Raw = Raw(b"null")


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None


class _Format(msgspec.Struct, gc=False):
    type: str = ""


_messages: Final = msgspec.json.Decoder(list[_Message])
_content: Final = msgspec.json.Decoder(str | list[_Part] | None)
_items: Final = msgspec.json.Decoder(list[Raw] | None)
_format: Final = msgspec.json.Decoder(_Format | None)


def prompt_of(members: Members) -> Prompt:
    """What is asked now, and the size and shape of what comes with it."""
    messages = _read(members)
    asked = list(takewhile(lambda message: message.role == _ASKING, reversed(messages)))
    if not asked:  # the last word is a tool's or the assistant's: it goes on with what the user asked last
        asked = next(([message] for message in reversed(messages) if message.role == _ASKING), [])
    text = "\n".join(text_of(message.content) for message in reversed(asked))
    tools = members.get("tools")
    everything = len(bytes(members["messages"])) + (len(bytes(tools)) if tools is not None else 0)
    return Prompt(
        text=text,
        context_chars=max(everything - sum(len(bytes(message.content)) for message in asked), 0),
        tools=_count(tools),
        turns=max(sum(message.role in _TURNS for message in messages), 1),
        format=format_of(members),
    )


def _read(members: Members) -> list[_Message]:
    try:
        return _messages.decode(members["messages"])
    except _WRONG:
        return []


def text_of(content: Raw) -> str:
    """The text of a message's content, its parts one a line; images and sounds have none."""
    try:
        found = _content.decode(content)
    except _WRONG:
        return ""
    if isinstance(found, list):
        return "\n".join(part.text for part in found if part.text)
    return found or ""


def _count(items: Raw | None) -> int:
    try:
        return len(_items.decode(items) or ()) if items is not None else 0
    except _WRONG:
        return 0


def format_of(members: Members) -> str:
    """The answer's format that is asked for: `json_object`, `json_schema`, or empty."""
    wanted = members.get("response_format")
    try:
        found = _format.decode(wanted) if wanted is not None else None
    except _WRONG:
        return ""
    return found.type if found is not None and found.type != "text" else ""
