"""Rows of the narrow tables in Postgres's binary COPY format. Pure.

Packing them here costs a third of what a general writer costs, and seven of eight rows of a call are narrow. It is done
record by record, so that what was decoded can be dropped while it is still in the processor's cache.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import attrgetter
from struct import Struct
from typing import Final, NamedTuple

from tokenledger.histogram import BOUNDS_US
from tokenledger.records import Latency, Line

HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""What a stream begins with."""
END: Final = b"\xff\xff"
"""What it ends with."""
_NULL: Final = b"\xff\xff\xff\xff"


def block(rows: Iterable[bytes]) -> bytes:
    """A whole COPY stream of packed rows."""
    return b"".join((HEAD, *rows, END))


_KEY: Final = Struct(">hi16siqiq").pack
KEY_COLUMNS: Final = ("key", "call_id", "charged_at_us")


def key_row(key: bytes, call_id: int, charged_at_us: int) -> bytes:
    """A row of `call_keys`; rows sort as their keys do."""
    return _KEY(3, 16, key, 8, call_id, 8, charged_at_us)


LINE_COLUMNS: Final = (
    "posting_id", "posted_at_us", "bucket_no", "dim_no",
    "quantity", "amount_usd_pico", "list_amount_usd_pico", "rate_no", "line_no",
)  # fmt: skip
_LINE_HEAD: Final = Struct(">hiqiqiiii").pack
_LINE_TAIL: Final = Struct(">iqiqiqiiih").pack
_numbers: Final = attrgetter("quantity", "amount_usd_pico", "list_amount_usd_pico")
_BUCKET_US: Final = 15 * 60 * 1_000_000


def line_rows(
    posting: tuple[int, int, int, int], lines: Sequence[Line], *, rate_nos: Sequence[int], sign: int, first_no: int = 0
) -> bytes:
    """Rows of `lines`, numbered from `first_no`; `posting` is (posting_id, posted_at_us, charged_at_us, dim_no)."""
    posting_id, posted_at_us, charged_at_us, dim_no = posting
    head = _LINE_HEAD(9, 8, posting_id, 8, posted_at_us, 4, charged_at_us // _BUCKET_US, 4, dim_no)
    rows = []
    for line_no, (line, rate_no) in enumerate(zip(lines, rate_nos, strict=True), first_no):
        quantity, amount, list_amount = _numbers(line)
        rows.append(head)
        rows.append(_LINE_TAIL(8, sign * quantity, 8, sign * amount, 8, sign * list_amount, 4, rate_no, 2, line_no))
    return b"".join(rows)


_POSTING_HEAD: Final = Struct(">hiqiqiqiq").pack
_BIGINT: Final = Struct(">iq").pack
_POSTING_MIDDLE: Final = Struct(">iqiiiiii").pack
POSTING_COLUMNS: Final = (
    "posting_id", "posted_at_us", "subject_id", "charged_at_us", "reverses_posting_id", "origin_offset",
    "origin_partition", "dim_no", "book_no", "subject_kind", "cause", "charge_category", "charge_class", "calls",
    "incomplete_calls", "total_bucket", "ttft_bucket", "tpot_bucket", "first_token_wait_bucket", "queue_bucket",
    "prefill_bucket", "decode_bucket",
)  # fmt: skip


def _text(value: str) -> bytes:
    return len(value).to_bytes(4, "big") + value.encode()


def _small(value: int) -> bytes:
    return b"\0\0\0\2" + value.to_bytes(2, "big", signed=True)


# One more than there are bounds: what is longer than the last of them falls into the last bucket.
_SMALLS: Final = [_small(min(number, len(BOUNDS_US) - 1)) for number in range(len(BOUNDS_US) + 1)]


class Why(NamedTuple):
    """Why a call is charged."""

    cause: str = "charge"
    """`charge`, `reprice` or `reread`."""
    corrects: bool = False
    """Whether it changes a month that is closed."""


CHARGE: Final = Why()


def _why(why: Why, sign: int) -> bytes:
    cause = "reversal" if sign < 0 else "correction" if why.corrects else why.cause
    charge_class = _text("correction") if why.corrects else _NULL
    return b"".join((_text("call"), _text(cause), _text("usage"), charge_class, _small(sign)))


_WHY: Final = {
    (why, sign): _why(why, sign)
    for cause in ("charge", "reprice", "reread")
    for corrects in (False, True)
    for why in (Why(cause, corrects=corrects),)
    for sign in (1, -1)
}
_INCOMPLETE: Final = {number: _small(number) for number in (-1, 0, 1)}
_NO_LATENCY: Final = _NULL * 7


def posting_row(
    posting: tuple[int, int, int, int],
    latency: Latency | None,
    *,
    subject: tuple[int, int, int, int, bool],
    reverses: int | None = None,
    why: Why = CHARGE,
) -> bytes:
    """A row of `postings` for a call: a charge, or the reversal of `reverses`.

    `posting` as in `line_rows`; `subject` is (call_id, origin offset, origin partition, book_no, incomplete).
    """
    posting_id, posted_at_us, charged_at_us, dim_no = posting
    call_id, offset, partition, book_no, incomplete = subject
    sign = 1 if reverses is None else -1
    return b"".join(
        (
            _POSTING_HEAD(22, 8, posting_id, 8, posted_at_us, 8, call_id, 8, charged_at_us),
            _NULL if reverses is None else _BIGINT(8, reverses),
            _POSTING_MIDDLE(8, offset, 4, partition, 4, dim_no, 4, book_no),
            _WHY[why, sign],
            _INCOMPLETE[sign if incomplete else 0],
            _NO_LATENCY if latency is None else _buckets(latency),
        )
    )


_durations: Final = attrgetter(
    "total_us", "ttft_us", "tpot_us", "first_token_wait_us", "queue_us", "prefill_us", "decode_us"
)


def _buckets(latency: Latency) -> bytes:
    return b"".join(
        [_NULL if value_us is None else _SMALLS[bisect_left(BOUNDS_US, value_us)] for value_us in _durations(latency)]
    )
