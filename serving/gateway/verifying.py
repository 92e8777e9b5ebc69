"""Whether an answer may be served: its form, its length, its end, its tone, its certainty. Pure: a value or a reason.

Agreement with another answer is `agreeing`'s. Schemas come from callers: they are compiled without network, their
patterns run in linear time, and one too large or wrong is not checked by.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs
import msgspec
from msgspec import Raw

from serving.gateway.cascade_configuration import Checks
from serving.gateway.prompts import format_of
from serving.gateway.refusing import refuses
from serving.gateway.requests import Asked, Members
from serving.gateway.said import Said


class Reason(StrEnum):
    """Why an answer is not served, or another attempt is made. A closed set: each is counted."""

    FORMAT = "format"
    """It is not the JSON that was asked for."""
    SCHEMA = "schema"
    """It is JSON, but does not fit the schema."""
    TOOL_CALL = "tool_call"
    """It calls no tool where it must, one nobody offered, or one with arguments that do not fit."""
    REFUSAL = "refusal"
    """It refuses, or says that it does not know."""
    EMPTY = "empty"
    """It says nothing."""
    SHORT = "short"
    """It says too little."""
    CUT = "cut"
    """It ended at its token limit."""
    LOW_LOGPROB = "low_logprob"
    """The model was not sure of it."""
    DISAGREEMENT = "disagreement"
    """The second opinion is another."""
    NO_SECOND_OPINION = "no_second_opinion"
    """The second opinion did not come."""
    UPSTREAM_ERROR = "upstream_error"
    """No upstream of the tier answered."""
    SPECULATION = "speculation"
    """It is not known yet whether it will be needed."""


_LARGEST_SCHEMA_BYTES: Final = 65_536
_TINY_LIMIT_TOKENS: Final = 16
"""A caller who allows no more wants the answer cut there."""
_WRONG: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Schema(msgspec.Struct, frozen=True, gc=False):
    schema: Raw = Raw(b"")


class _Format(msgspec.Struct, frozen=True, gc=False):
    json_schema: _Schema | None = None


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    parameters: Raw = Raw(b"")


class _Tool(msgspec.Struct, frozen=True, gc=False):
    function: _Function = _Function()


_format: Final = msgspec.json.Decoder(_Format)
_tools: Final = msgspec.json.Decoder(list[_Tool] | None)
_plain: Final = msgspec.json.Decoder()


class Wanted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request wants of its answer's form."""

    format: str = ""
    """`json_object`, `json_schema`, or empty."""
    schema: bytes = b""
    """The schema of `json_schema`."""
    tools: dict[str, bytes] = {}
    """Tools that may be called, and the schemas of their arguments."""
    must_call: bool = False
    """Whether a tool must be called."""
    is_cut_by_wish: bool = False
    """Whether the caller's own limit is so small that being cut is no defect."""


def wanted_of(asked: Asked) -> Wanted:
    """What a request wants; what of it cannot be read is not checked."""
    members = asked.members
    return Wanted(
        format=format_of(members),
        schema=_schema_of(members),
        tools=_tools_of(members),
        must_call=bytes(members.get("tool_choice", Raw(b"null"))) not in {b"null", b'"auto"', b'"none"'},
        is_cut_by_wish=asked.output_tokens_limit is not None and asked.output_tokens_limit <= _TINY_LIMIT_TOKENS,
    )


def _schema_of(members: Members) -> bytes:
    try:
        found = _format.decode(members["response_format"]) if "response_format" in members else None
    except _WRONG:
        return b""
    return bytes(found.json_schema.schema) if found is not None and found.json_schema is not None else b""


def _tools_of(members: Members) -> dict[str, bytes]:
    try:
        found = _tools.decode(members["tools"]) if "tools" in members else None
    except _WRONG:
        return {}
    return {tool.function.name: bytes(tool.function.parameters) for tool in found or () if tool.function.name}


def check(answer: Said | None, wanted: Wanted, *, checks: Checks) -> Reason | None:
    """Why the answer will not do, the gravest first; None where nothing speaks against it."""
    if answer is None:
        return Reason.FORMAT
    if checks.refusal and (answer.refusal or answer.finish == "content_filter"):
        return Reason.REFUSAL
    if checks.cut and answer.finish == "length" and not wanted.is_cut_by_wish:
        return Reason.CUT
    if checks.format and (wrong := _form(answer, wanted)):
        return wrong
    if not answer.calls and (wrong := _text(answer, wanted, checks=checks)):
        return wrong
    unsure = checks.min_logprob is not None and answer.mean_logprob is not None
    return Reason.LOW_LOGPROB if unsure and (answer.mean_logprob or 0.0) < (checks.min_logprob or 0.0) else None


def _form(answer: Said, wanted: Wanted) -> Reason | None:
    if wanted.must_call and not answer.calls:
        return Reason.TOOL_CALL
    if answer.calls:
        fit = all(_call_fits(call.name, call.arguments, tools=wanted.tools) for call in answer.calls)
        return None if fit else Reason.TOOL_CALL
    if not wanted.format:
        return None
    try:
        value = _plain.decode(answer.text)
    except _WRONG:
        return Reason.FORMAT
    if wanted.format == "json_object":
        return None if isinstance(value, dict) else Reason.FORMAT
    return None if fits(value, wanted.schema) else Reason.SCHEMA


def _call_fits(name: str, arguments: str, *, tools: dict[str, bytes]) -> bool:
    if name not in tools:
        return False
    try:
        value = _plain.decode(arguments or "{}")
    except _WRONG:
        return False
    return isinstance(value, dict) and fits(value, tools[name])


def _text(answer: Said, wanted: Wanted, *, checks: Checks) -> Reason | None:
    said_chars = len(answer.text.strip())
    if said_chars == 0:
        return Reason.EMPTY if checks.least_chars else None
    if said_chars < checks.least_chars:
        return Reason.SHORT
    return Reason.REFUSAL if checks.refusal and not wanted.format and refuses(answer.text) else None


def fits(value: Any, schema: bytes) -> bool:
    """Whether a value fits a schema; any does where the schema is none, too large, or wrong."""
    if not schema or len(schema) > _LARGEST_SCHEMA_BYTES:
        return True
    validator = _validator(schema)
    return validator is None or bool(validator.is_valid(value))


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    try:
        return jsonschema_rs.validator_for(
            _plain.decode(schema), offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, RecursionError, *_WRONG):
        return None
