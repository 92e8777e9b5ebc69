"""OTLP exports and spans in their several forms."""

import json
from typing import Any

import pytest

from tokenledger.normalise import normalise
from tokenledger.normalise.otel import SPAN_TYPE, is_model_span, split_otlp
from tokenledger.records import Call, RawEvent, Reason, Rejected

CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 3,
}


def otlp(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Attributes as OTLP/JSON has them."""
    return [
        {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for name, value in attributes.items()
    ]


def read_span(span: dict[str, Any]) -> Call | Rejected:
    """What is made of a span."""
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme", "ce_type": SPAN_TYPE.encode()}
    return normalise(RawEvent(value=json.dumps(span).encode(), headers=headers))


def test_an_export_is_split_into_spans_that_know_where_they_come_from() -> None:
    spans = [{"spanId": str(n) * 16, "attributes": otlp(CALL)} for n in (1, 2)]
    export = {
        "resourceSpans": [
            {
                "resource": {"attributes": otlp({"service.name": "shop"})},
                "scopeSpans": [{"scope": {"name": "lib", "version": "1.2"}, "schemaUrl": "u", "spans": spans}],
            },
            {"scopeSpans": [{"spans": [{"spanId": "3" * 16, "attributes": otlp({"http.route": "/"})}]}]},
        ]
    }

    split = split_otlp(export)

    assert [span["spanId"][0] for span in split] == ["1", "2", "3"]
    assert split[0]["scope"] == {"name": "lib", "version": "1.2"}
    assert split[0]["schemaUrl"] == "u"
    assert [is_model_span(span) for span in split] == [True, True, False]
    call = read_span(split[0])
    assert isinstance(call, Call), call
    assert (call.project, call.span_id) == ("shop", "1" * 16)


@pytest.mark.parametrize("export", [{}, {"resourceSpans": None}, {"resourceSpans": [1, {"scopeSpans": "x"}]}])
def test_an_export_without_spans_gives_none(export: dict[str, Any]) -> None:
    assert split_otlp(export) == []


def test_the_three_forms_of_a_span_say_the_same() -> None:
    forms: list[dict[str, Any]] = [
        {"traceId": "a" * 32, "spanId": "b" * 16, "attributes": otlp(CALL)},
        {"context": {"trace_id": "0x" + "a" * 32, "span_id": "0x" + "b" * 16}, "attributes": CALL},
        CALL | {"trace_id": "a" * 32, "span_id": "b" * 16},
    ]

    calls = [read_span(form) for form in forms]

    for call in calls:
        assert isinstance(call, Call), call
        assert (call.usage, call.trace_id, call.span_id) == (
            {"input.text": 12, "output.text": 3},
            "a" * 32,
            "b" * 16,
        )


@pytest.mark.parametrize("kind", ["AGENT", "CHAIN", "TOOL", "RETRIEVER"])
def test_openinference_spans_of_other_kinds_are_no_calls(kind: str) -> None:
    rejected = read_span({"attributes": {"openinference.span.kind": kind, "llm.token_count.prompt": 5}})

    assert isinstance(rejected, Rejected)
    assert rejected.reason == Reason.NOT_A_CALL


@pytest.mark.parametrize("value", [b"[]", b"1", b'"span"', b"null"])
def test_what_is_no_object_is_no_span(value: bytes) -> None:
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme", "ce_type": SPAN_TYPE.encode()}

    rejected = normalise(RawEvent(value=value, headers=headers))

    assert isinstance(rejected, Rejected)
    assert rejected.reason == Reason.INVALID_ENVELOPE
