"""A request body → what the gateway must know of it, and the body as the upstream shall have it. Pure.

Top-level members are taken apart and put together again as bytes: unknown fields, spellings of numbers and the order
survive. Of a key that comes twice the last counts, for us and, as only that one is sent on, for the upstream.
"""

import re
from typing import Annotated, Final

import msgspec

from serving.gateway.errors import refused
from serving.gateway.records import Refusal

Members = dict[str, msgspec.Raw]

_members: Final = msgspec.json.Decoder(Members)
_encode: Final = msgspec.json.Encoder().encode
_KEY: Final = re.compile(rb'[{,]\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_TRUE: Final = msgspec.Raw(b"true")
_ASK_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')
_OF_STREAMS: Final = frozenset({"stream", "stream_options"})
_LONGEST_TEXT: Final = 256

Limit = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Asked(msgspec.Struct, gc=False):
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_TEXT)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    service_tier: str | None = None
    user: str | None = None


_asked: Final = msgspec.json.Decoder(_Asked)
_READ: Final = frozenset(_Asked.__struct_fields__)
_text: Final = msgspec.json.Decoder(str)
_options: Final = msgspec.json.Decoder(Members)


class Asked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one request asks for."""

    body: bytes
    """As it came."""
    members: Members
    """Its top level."""
    model: str
    """The model as the caller names it."""
    stream: bool
    """Whether the answer shall be streamed."""
    usage_wanted: bool
    """Whether the caller asked to see the stream's usage."""
    output_tokens_limit: int | None
    """Most tokens per choice by the request, None where it does not say."""
    choices: int
    """Choices asked for."""
    images: int
    """Images it may hold, at most."""
    service_tier: str | None
    """Service tier asked for."""
    user_id: str | None
    """End user, opaque."""

    def most_output_tokens(self, default: int) -> int:
        """The most the answer may have."""
        return (self.output_tokens_limit or default) * self.choices

    def most_input_tokens(self, per_image: int) -> int:
        """Every token stands for at least one byte; an image counts whatever its bytes."""
        return len(self.body) + self.images * per_image


def read(body: bytes, api: str) -> Asked | Refusal:
    """What a body asks for; a refusal names the field."""
    try:
        body.decode()
        members = _members.decode(body)
        asked = _asked.decode(_encode({name: members[name] for name in members if name in _READ}))
    except msgspec.ValidationError as error:
        return _invalid(str(error))
    except UnicodeDecodeError as error:
        return refused(400, f"the body is not UTF-8: byte {error.start}", code="invalid_json")
    except RecursionError:
        return refused(400, "the body is nested too deeply", code="invalid_json")
    except msgspec.DecodeError as error:
        return refused(400, f"the body is not JSON: {error}", code="invalid_json")
    chat = api == "chat"
    missing = "messages" if chat else "input"
    if missing not in members:
        return refused(
            400, f"Missing required parameter: '{missing}'.", param=missing, code="missing_required_parameter"
        )
    options = asked.stream_options
    return Asked(
        body=body,
        members=members,
        model=asked.model,
        stream=chat and asked.stream is True,
        usage_wanted=options is not None and options.include_usage is True,
        output_tokens_limit=(asked.max_completion_tokens or asked.max_tokens) if chat else 0,
        choices=asked.n or 1,
        images=body.count(b'"image_url"') if chat and b'"image_url"' in body else 0,
        service_tier=_bounded(asked.service_tier),
        user_id=_bounded(asked.user),
    )


def _bounded(value: str | None) -> str | None:
    return value[:_LONGEST_TEXT] if value else None


def _invalid(message: str) -> Refusal:
    what, _, where = message.partition(" - at `$")
    param = where.strip("`.") or None
    if "missing required field `model`" in what:
        return refused(400, "Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    if param is None:
        return refused(400, f"The body must be a JSON object: {what}.", code="invalid_json")
    return refused(400, f"Invalid value for '{param}': {what}.", param=param, code="invalid_value")


def for_upstream(asked: Asked, model: str, *, ask_for_usage: bool) -> bytes:
    """The body to send: the caller's own bytes where nothing need change."""
    changed: Members = {}
    if model != asked.model:
        changed["model"] = msgspec.Raw(_encode(model))
    if asked.stream and ask_for_usage and not asked.usage_wanted:
        changed["stream_options"] = _with_usage(asked.members.get("stream_options"))
    if not changed:
        return asked.body if _says_each_once(asked.body, asked.members) else _encode(asked.members)
    return _encode(asked.members | changed)


def varied(asked: Asked, *, stream: bool, logprobs: bool = False) -> Asked:
    """The same question, streamed or not, with the log-probabilities of the answer or as the caller wants them."""
    if stream == asked.stream and not logprobs:
        return asked
    members = {name: value for name, value in asked.members.items() if stream or name not in _OF_STREAMS}
    if stream:
        members["stream"] = _TRUE
    if logprobs:
        members["logprobs"] = _TRUE
    return msgspec.structs.replace(asked, members=members, body=_encode(members), stream=stream)


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """Stream options that ask for usage and keep the rest."""
    if options is None or bytes(options) == b"null":
        return _ASK_USAGE
    return msgspec.Raw(_encode(_options.decode(options) | {"include_usage": _TRUE}))


def _says_each_once(body: bytes, members: Members) -> bool:
    """Whether no top-level key comes twice, in whatever spelling."""
    if sum(map(len, map(bytes, members.values()))) + sum(map(len, members)) + 4 * len(members) + 1 == len(body):
        return True  # compact: there is no room for a second
    if body == b"{%b}" % b", ".join([b'"%b": %b' % (name.encode(), value) for name, value in members.items()]):
        return True  # as Python's json writes it
    position, seen = body.find(b"{"), 0
    while found := _KEY.match(body, position):
        value = members.get(_text.decode(found[1]))
        if value is None or not body.startswith(bytes(value), found.end()):
            return False
        seen += 1
        position = found.end() + len(bytes(value))
        position += len(body[position : position + 64]) - len(body[position : position + 64].lstrip())
    return seen == len(members)
