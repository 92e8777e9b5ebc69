"""Kafka headers of the topics, as contracts: what each says, and whether it must be there."""

from typing import Any, Final

import msgspec

from schemas.meanings import field_meanings
from tokenledger.records import RawEvent, Reason, Rejected
from tokenledger.records.wire import rejected_headers


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """One header of a record; every value is UTF-8 text."""

    name: str
    """Name as Kafka carries it."""
    meaning: str
    """What it says."""
    required: bool = False
    """Whether a record without it is refused."""


RAW_HEADERS: Final = (
    Header(
        name="ce_tenantid",
        meaning="The tenant. Set by whoever checked the credential, never by the body.",
        required=True,
    ),
    Header(
        name="ce_id", meaning="CloudEvents id; the same on every re-delivery. Absent, the payload's hash stands in."
    ),
    Header(name="ce_source", meaning="CloudEvents source; `ce_id` is unique within it."),
    Header(name="ce_type", meaning="The dialect of the value: `llm.call.v1`, the call envelope, where absent."),
    Header(name="ce_time", meaning="When the producer made the record, RFC 3339."),
    Header(name="ce_sequence", meaning="The producer's sequence number within its source; a gap is a loss."),
    Header(name="ce_epoch", meaning="What the numbers begin anew with, such as one start of the producer's process."),
    Header(name="ce_specversion", meaning="CloudEvents version, `1.0`."),
    Header(name="content-type", meaning="`application/json`."),
    Header(name="attempt_no", meaning="Set by a replay: how often this record was tried before."),
)
"""Headers of `llm.raw.v1`: CloudEvents in Kafka's binary mode."""


def raw_headers_schema() -> dict[str, Any]:
    """JSON Schema of the headers of `llm.raw.v1`."""
    return {
        "title": "RawEvent headers",
        "description": field_meanings(RawEvent)["headers"],
        "type": "object",
        "properties": {
            header.name: {"type": "string", "description": header.meaning, **_integer(header.name, "ce_sequence")}
            for header in RAW_HEADERS
        },
        "required": [header.name for header in RAW_HEADERS if header.required],
    }


def rejected_headers_schema() -> dict[str, Any]:
    """JSON Schema of the headers that say why and whence; the original headers travel beside them."""
    meanings = field_meanings(Rejected)
    fields = {field.name: field for field in msgspec.structs.fields(Rejected)}
    properties: dict[str, Any] = {}
    for name in rejected_headers(Rejected(reason=Reason.EMPTY)):
        field = name.removeprefix("origin_")
        schema: dict[str, Any] = {"type": "string", "description": meanings[field]}
        if fields[field].type is int:
            schema |= _integer(name, name)
        if fields[field].type is Reason:
            schema["enum"] = [reason.value for reason in Reason]
        properties[name] = schema
    return {
        "title": "Rejected headers",
        "description": "Why a record was refused and where it came from, beside the record's own headers.",
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


def _integer(name: str, numeric: str) -> dict[str, str]:
    return {"pattern": "^-?[0-9]+$"} if name == numeric else {}
