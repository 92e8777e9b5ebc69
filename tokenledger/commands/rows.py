"""One line per call: the contract of `tokenledger price --format jsonl`. Money is text, because JSON readers round."""

from typing import Final

import msgspec

from tokenledger.readers import Found
from tokenledger.records.priced import Latency, Line, PricedCall
from tokenledger.records.rejected import Rejected


class RowLine(msgspec.Struct, gc=False):
    """One meter of the call, priced."""

    meter: str
    quantity: int
    list_pico: str
    list_per: int
    contracted_pico: str
    contracted_per: int
    amount_usd_pico: str
    list_amount_usd_pico: str
    price_id: str
    matched: str
    model: str | None


class Row(msgspec.Struct, gc=False):
    """One call. `null` was not stated or is not known; amounts are 10⁻¹² USD."""

    source_file: str
    line: int
    event_id: str
    keys: tuple[str, ...]
    response_id: str | None
    tenant_id: str
    environment: str | None
    project: str | None
    feature: str | None
    provider: str
    api: str | None
    request_model: str | None
    response_model: str | None
    priced_model: str | None
    status: str
    http_status: int | None
    service_tier_served: str | None
    processing: str | None
    stream: bool | None
    started_at_us: int
    event_time_source: str
    usage: dict[str, int]
    input_tokens: int | None
    output_tokens: int | None
    cost_usd_pico: str | None
    known_cost_usd_pico: str
    billed_usd_pico: str | None
    computed_usd_pico: str | None
    claimed_usd_pico: str | None
    price_status: str
    unpriced_meters: tuple[str, ...]
    rate_fallbacks: tuple[str, ...]
    anomalies: tuple[str, ...]
    usage_source: str
    usage_reading: str
    book_version: str
    lines: list[RowLine]
    latency: Latency | None


class Refusal(msgspec.Struct, gc=False):
    """Why a record was rejected."""

    reason: str
    field: str
    detail: str


class RejectedRow(msgspec.Struct, gc=False):
    """One record that could not be understood."""

    rejected: Refusal
    source_file: str
    line: int
    event_id: str | None
    tenant_id: str | None
    stage: str


_encode: Final = msgspec.json.Encoder().encode


def row_json(priced: PricedCall, found: Found) -> bytes:
    """The row of a call, as JSON without its outcome."""
    call = priced.call
    return _encode(
        Row(
            source_file=found.source_file,
            line=found.line,
            event_id=call.event_id,
            keys=(call.event_key,) if call.response_key is None else (call.event_key, call.response_key),
            response_id=call.response_id,
            tenant_id=call.tenant_id,
            environment=call.environment,
            project=call.project,
            feature=call.feature,
            provider=call.provider,
            api=call.api,
            request_model=call.request_model,
            response_model=call.response_model,
            priced_model=priced.priced_model,
            status=call.status,
            http_status=call.http_status,
            service_tier_served=call.service_tier_served,
            processing=call.processing,
            stream=call.stream,
            started_at_us=call.started_at_us,
            event_time_source=call.event_time_source,
            usage=call.usage,
            input_tokens=call.input_tokens,
            output_tokens=call.output_tokens,
            cost_usd_pico=_money(priced.cost_usd_pico),
            known_cost_usd_pico=str(priced.known_cost_usd_pico),
            billed_usd_pico=_money(call.billed_usd_pico),
            computed_usd_pico=_money(priced.computed_usd_pico),
            claimed_usd_pico=_money(call.claimed_usd_pico),
            price_status=priced.price_status,
            unpriced_meters=priced.unpriced_meters,
            rate_fallbacks=priced.rate_fallbacks,
            anomalies=priced.anomalies,
            usage_source=call.usage_source,
            usage_reading=call.usage_reading,
            book_version=priced.book_version,
            lines=[_line(one) for one in priced.lines],
            latency=priced.latency,
        )
    )


def rejected_json(rejected: Rejected, found: Found) -> bytes:
    """The row of a rejected record, as JSON without its outcome."""
    refusal = Refusal(rejected.reason.value, rejected.field, rejected.detail)
    return _encode(
        RejectedRow(refusal, found.source_file, found.line, rejected.event_id, rejected.tenant_id, rejected.stage),
    )


def with_outcome(row: bytes, outcome: str) -> bytes:
    """The finished line."""
    return b'{"outcome":"%s",%s' % (outcome.encode(), row[1:])


def with_anomaly(row: bytes, anomaly: str) -> bytes:
    """The row with one anomaly more, known only after all records were seen."""
    decoded = msgspec.json.decode(row)
    decoded["anomalies"] = [*decoded["anomalies"], anomaly]
    return _encode(decoded)


def _money(amount_usd_pico: int | None) -> str | None:
    return None if amount_usd_pico is None else str(amount_usd_pico)


def _line(line: Line) -> RowLine:
    return RowLine(
        line.meter,
        line.quantity,
        str(line.list_pico),
        line.list_per,
        str(line.contracted_pico),
        line.contracted_per,
        str(line.amount_usd_pico),
        str(line.list_amount_usd_pico),
        line.price_id,
        line.matched,
        line.model,
    )
