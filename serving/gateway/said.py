"""A whole chat completion → what it says: text, refusal, tool calls, how it ended, how sure it was. Pure."""

from typing import Final

import msgspec
from msgspec import Raw

_WRONG: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    arguments: str = ""


class _Call(msgspec.Struct, frozen=True, gc=False):
    function: _Function = _Function()


class _Part(msgspec.Struct, frozen=True, gc=False):
    text: str | None = None


class _Message(msgspec.Struct, frozen=True, gc=False):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Token(msgspec.Struct, frozen=True, gc=False):
    logprob: float = 0.0


class _Logprobs(msgspec.Struct, frozen=True, gc=False):
    content: list[_Token] | None = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    message: _Message = _Message()
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: int | None = None


class _Reply(msgspec.Struct, frozen=True, gc=False):
    choices: list[_Choice] = []
    usage: _Usage | None = None


_reply: Final = msgspec.json.Decoder(_Reply)
_members: Final = msgspec.json.Decoder(dict[str, Raw])
_choices: Final = msgspec.json.Decoder(list[dict[str, Raw]])
_encode: Final = msgspec.json.Encoder().encode


class Called(msgspec.Struct, frozen=True, gc=False):
    """One tool that was called."""

    name: str
    """Its name."""
    arguments: str
    """What it was called with, as the model wrote it."""


class Said(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One answer, as far as it is checked."""

    text: str = ""
    """Its text."""
    refusal: str = ""
    """The text of a refusal that is marked as one."""
    calls: tuple[Called, ...] = ()
    """Tools it calls."""
    finish: str | None = None
    """`stop`, `length`, `tool_calls`, `content_filter`."""
    mean_logprob: float | None = None
    """Mean log-probability of its tokens; None where the upstream gave none."""
    prompt_tokens: int | None = None
    """Tokens of the prompt, by the upstream's count."""


def said(reply: bytes) -> Said | None:
    """The first choice of a completion; None for what is none."""
    try:
        found = _reply.decode(reply)
    except _WRONG:
        return None
    if not found.choices:
        return None
    choice = found.choices[0]
    message = choice.message
    tokens = choice.logprobs.content if choice.logprobs is not None else None
    text = message.content
    return Said(
        text="".join(part.text or "" for part in text) if isinstance(text, list) else text or "",
        refusal=message.refusal or "",
        calls=tuple(Called(call.function.name, call.function.arguments) for call in message.tool_calls or ()),
        finish=choice.finish_reason,
        mean_logprob=sum(token.logprob for token in tokens) / len(tokens) if tokens else None,
        prompt_tokens=found.usage.prompt_tokens if found.usage is not None else None,
    )


def without_logprobs(reply: bytes) -> bytes:
    """The same completion without the log-probabilities that only we asked for."""
    members = _members.decode(reply)
    choices = [
        {name: value for name, value in choice.items() if name != "logprobs"}
        for choice in _choices.decode(members["choices"])
    ]
    return _encode(members | {"choices": choices})
