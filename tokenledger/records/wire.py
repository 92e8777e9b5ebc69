"""How records travel: JSON values and Kafka headers. The only place that knows either."""

from collections.abc import Iterable

import msgspec

from tokenledger.records.features import FeatureWindow
from tokenledger.records.priced import PricedCall
from tokenledger.records.raw import RawEvent
from tokenledger.records.reasons import Reason
from tokenledger.records.rejected import Rejected

_SOURCE_CHARACTERS = 256

# Decimals occur only inside `raw_usage`, which is kept as the provider wrote it.
_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(PricedCall)

encode_priced = _encoder.encode
decode_priced = _decoder.decode
encode_window = msgspec.json.Encoder().encode
decode_window = msgspec.json.Decoder(FeatureWindow).decode


def encode_records(records: Iterable[tuple[str, PricedCall]]) -> bytes:
    """Records beside the fingerprints they had before they were read again."""
    return _encoder.encode(list(records))


def window_key(window: FeatureWindow) -> bytes:
    """What a window is about, as JSON: names may hold any character."""
    owner, name = (window.provider, window.model) if window.entity == "model" else (window.tenant_id, window.feature)
    return msgspec.json.encode((window.entity, owner, name))


def rejected_headers(rejected: Rejected) -> dict[str, bytes]:
    """Why and whence, as headers of a record on `llm.rejected.v1`."""
    texts = {
        "reason": rejected.reason.value,
        "field": rejected.field,
        "detail": rejected.detail,
        "stage": rejected.stage,
        "origin_topic": rejected.topic,
        "origin_partition": str(rejected.partition),
        "origin_offset": str(rejected.offset),
        "origin_append_at_us": str(rejected.append_at_us),
        "attempt_no": str(rejected.attempt_no),
        "code_version": rejected.code_version,
        "tenant_id": rejected.tenant_id or "",
        "event_id": rejected.event_id or "",
    }
    return {name: text.encode() for name, text in texts.items()}


def encode_rejected(rejected: Rejected, raw: RawEvent) -> tuple[bytes | None, dict[str, bytes]]:
    """The original bytes, and the original headers with ours beside them (ours win on a clash)."""
    return raw.value, raw.headers | rejected_headers(rejected)


def decode_rejected(headers: dict[str, bytes]) -> Rejected:
    """The reverse of `rejected_headers`. Raises ValueError for headers that are not ours."""
    text = {name: value.decode() for name, value in headers.items() if name in _REJECTED_HEADERS}
    try:
        return Rejected(
            reason=Reason(text["reason"]),
            field=text["field"],
            detail=text["detail"],
            stage=text["stage"],
            tenant_id=text["tenant_id"] or None,
            event_id=text["event_id"] or None,
            topic=text["origin_topic"],
            partition=int(text["origin_partition"]),
            offset=int(text["origin_offset"]),
            append_at_us=int(text["origin_append_at_us"]),
            attempt_no=int(text["attempt_no"]),
            code_version=text["code_version"],
            ce_source=_source(headers.get("ce_source", b"")),
        )
    except KeyError as missing:
        message = f"rejected record: header {missing} is missing; expected {sorted(_REJECTED_HEADERS)}"
        raise ValueError(message) from None


def _source(header: bytes) -> str | None:
    """The producer's own header, which may hold anything."""
    return header.decode("utf-8", "replace").replace("\0", "\ufffd")[:_SOURCE_CHARACTERS].strip() or None


_REJECTED_HEADERS = frozenset(rejected_headers(Rejected(reason=Reason.EMPTY)))
