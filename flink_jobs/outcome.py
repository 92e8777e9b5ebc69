"""What a record becomes on the wire. Pure and total: any record gives bytes that the sinks can take.

Total is the point: an exception would restart the job, meet the same record again, and stop the line.
"""

from typing import Final

from tokenledger.process import CODE_VERSION, Context, process
from tokenledger.records.raw import RawEvent
from tokenledger.records.reasons import Reason
from tokenledger.records.rejected import Rejected
from tokenledger.records.wire import encode_priced, encode_rejected, rejected_headers

LARGEST_BYTES: Final = 6 * 1024 * 1024
"""What a sink is given at most, headers included: below what the topics take, by a margin for Kafka's own framing."""

Outcome = tuple[bool, bytes | None, dict[str, bytes]]
"""Whether it is priced, the value, the headers."""


def outcome(raw: RawEvent, context: Context) -> Outcome:
    """The record priced, or rejected with its bytes."""
    try:
        result = process(raw, context)
        if isinstance(result, Rejected):
            return False, *bounded(raw, result)
        value = encode_priced(result)
    except Exception as defect:  # noqa: BLE001 - the last line of defence: our defect must not stop the stream
        return False, *bounded(raw, internal_error(raw, defect))
    if len(value) > LARGEST_BYTES:
        return False, *bounded(raw, too_large(raw, len(value)))
    return True, value, {}


def bounded(raw: RawEvent, rejected: Rejected) -> tuple[bytes | None, dict[str, bytes]]:
    """A rejected record with its bytes, or with their beginning where a sink would refuse all of them.

    A compressed record may unfold beyond every limit; the whole of it stands at its origin.
    """
    value, headers = encode_rejected(rejected, raw)
    size = len(value or b"") + sum(len(name) + len(text) for name, text in headers.items())
    if size <= LARGEST_BYTES:
        return value, headers
    kept = (value or b"")[: LARGEST_BYTES // 2]
    return kept, rejected_headers(rejected) | {"value_bytes": str(len(value or b"")).encode()}


def internal_error(raw: RawEvent, defect: Exception) -> Rejected:
    """Names the defect and where it happened, without its message, which may hold a text of the call."""
    trace = defect.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else ""
    return _origin(raw, Reason.INTERNAL_ERROR, detail=f"{type(defect).__name__}{where}", stage="process")


def too_large(raw: RawEvent, size: int) -> Rejected:
    """The priced call outgrew what a topic takes."""
    detail = f"priced call of {size} bytes; at most {LARGEST_BYTES} would be right"
    return _origin(raw, Reason.TOO_LARGE, detail=detail, stage="encode")


def _origin(raw: RawEvent, reason: Reason, *, detail: str, stage: str) -> Rejected:
    # Built by hand, from fields that cannot be wrong: what failed may fail again.
    return Rejected(
        reason=reason,
        detail=detail[:512],
        stage=stage,
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        append_at_us=raw.append_at_us,
        code_version=CODE_VERSION,
    )
