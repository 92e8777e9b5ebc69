"""What the rules read: captured texts out of the lake, prompts of other versions. An edge: it reads files."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from dags.core import words
from dags.core.manifest import INDEX, REVIEWS, Manifest
from ledger.lake import reading
from tokenledger.records.texts import CapturedText

_BATCH_ROWS: Final = 1_024
_BATCH_BYTES: Final = 16 << 20
_US: Final = 1_000_000
_PACK: Final = msgspec.msgpack.Encoder(order="deterministic")
_UNPACK: Final = msgspec.msgpack.Decoder(CapturedText)

CAPTURED: Final = pa.schema(
    [
        ("tenant_id", pa.string()),
        ("operation", pa.string()),
        ("event_key", pa.string()),
        ("feature", pa.string()),
        ("user_hash", pa.string()),
        ("digest", pa.binary()),
        ("raw", pa.binary()),
    ]
)
"""A captured text as it is sorted: its key, what consent depends on, its hash, and itself."""


_LOOKED_AT: Final = (
    *("tenant_id", "event_key", "feature", "route_tier", "response_model", "request_model", "decision"),
    *("finish_reason", "status", "input_tokens", "output_tokens", "ttft_us", "tpot_us", "total_us"),
)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls to read."""

    since_us: int | None = None
    """From then on, µs UTC."""
    until_us: int | None = None
    """Before then."""


def instant_us(text: str) -> int:
    """`2026-11-21` or `2026-11-21T16:00:00Z` as µs UTC. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write 2026-11-21 or 2026-11-21T16:00:00Z") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp()) * _US


def texts(lake: Path, *, tenants: Collection[str] | None, window: Window) -> Iterator[CapturedText]:
    """Captured texts, one a call."""
    if not lake.is_dir():
        raise FileNotFoundError(f"there is no lake at {lake}; name its folder with --lake")
    return reading.texts(lake, tenants=tenants, since_us=window.since_us, until_us=window.until_us)


def captured(found: Iterable[CapturedText]) -> pa.RecordBatchReader:
    """The texts as a stream of batches; a batch is small in bytes, whatever a conversation is long."""
    return pa.RecordBatchReader.from_batches(CAPTURED, _batches(found))


def _batches(found: Iterable[CapturedText]) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[Any, ...]] = []
    size_bytes = 0
    for text in found:
        raw = _PACK.encode(text)
        operation = text.operation_id or f"\0{text.event_key}"
        of_whom = (text.feature, text.user_hash, hashlib.sha256(raw).digest())
        rows.append((text.tenant_id, operation, text.event_key, *of_whom, raw))
        size_bytes += len(raw)
        if len(rows) == _BATCH_ROWS or size_bytes >= _BATCH_BYTES:
            yield batch(rows, CAPTURED)
            rows, size_bytes = [], 0
    yield batch(rows, CAPTURED)


def batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows as a batch."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def text_of(raw: bytes) -> CapturedText:
    """What `captured` packed."""
    return _UNPACK.decode(raw)


def prompts(place: Path, manifest: Manifest) -> Iterator[str]:
    """What the rows of a version ask; of router pairs nothing, as they are no texts to be evaluated on."""
    for file in manifest.files:
        if file.path not in {INDEX, REVIEWS} and file.path.endswith(".jsonl"):
            with (place / file.path).open("rb") as lines:
                yield from (_asked(msgspec.json.decode(line)) for line in lines)


def _asked(row: dict[str, Any]) -> str:
    found = row.get("messages") or row.get("prompt") or row.get("input", {}).get("messages", [])
    return words.prompt(found)


def calls(lake: Path, *, window: Window) -> Iterator[pa.RecordBatch]:
    """Calls of the lake, each once, with the columns that drift is looked for in."""
    if not lake.is_dir():
        raise FileNotFoundError(f"there is no lake at {lake}; name its folder with --lake")
    return reading.calls(lake, since_us=window.since_us, until_us=window.until_us, columns=_LOOKED_AT)
