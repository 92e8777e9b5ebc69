"""Whole chat completions as the cache keeps them and gives them back. Pure.

Only a plain text answer that ended by itself is kept: not a cut one, a refusal, a tool call, audio, or several choices.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from serving.cache.personal import is_personal

_WRONG: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NOTHING: Final = frozenset({b"null", b"[]", b'""'})
_encode: Final = msgspec.json.Encoder().encode


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    role: str = ""
    tool_calls: Raw | UnsetType = UNSET
    function_call: Raw | UnsetType = UNSET
    refusal: Raw | UnsetType = UNSET
    audio: Raw | UnsetType = UNSET
    annotations: Raw | UnsetType = UNSET

    def is_plain(self) -> bool:
        """Whether it is text and nothing else."""
        others = (self.tool_calls, self.function_call, self.refusal, self.audio, self.annotations)
        return isinstance(self.content, str) and all(one is UNSET or bytes(one) in _NOTHING for one in others)


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str | None = None


class _Reply(msgspec.Struct, gc=False):
    choices: list[_Choice]
    object: str = ""
    error: Raw | UnsetType = UNSET


_reply: Final = msgspec.json.Decoder(_Reply)
_members: Final = msgspec.json.Decoder(dict[str, Raw])


def answer_of(reply: bytes) -> str | None:
    """The text of a reply that may be kept; None for one that may not."""
    try:
        found = _reply.decode(reply)
    except _WRONG:
        return None
    if len(found.choices) != 1 or found.object != "chat.completion":
        return None
    if found.error is not UNSET and bytes(found.error) != b"null":
        return None
    choice = found.choices[0]
    content = choice.message.content
    if choice.finish_reason != "stop" or not choice.message.is_plain() or not content.strip():
        return None
    return None if is_personal(content) else str(content)


def kept_form(reply: bytes) -> bytes:
    """A reply without its id and date, ready to be given again: all but the opening brace."""
    members = _members.decode(reply)
    for name in ("id", "created"):
        members.pop(name, None)
    return _encode(members)[1:]


def text_of(kept: bytes) -> str:
    """The answer's text of a kept reply."""
    return str(_reply.decode(b"{" + kept).choices[0].message.content)


def given_again(kept: bytes, *, hit_id: str, at_us: int) -> bytes:
    """A kept reply as another call's: the ledger takes two records of one id for one call."""
    return b'{"id":"chatcmpl-%b","created":%d,%b' % (hit_id.encode(), at_us // 1_000_000, kept)


def written(answer: str, model: str) -> bytes:
    """A written answer in the form of a kept reply; nothing was used to make it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    return _encode({"object": "chat.completion", "model": model, "choices": [choice]})[1:]
