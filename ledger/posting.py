"""Charges and reversals as rows, ready to copy. Pure but for the numbers they take from the state."""

from typing import NamedTuple

import msgspec

from ledger import copying
from ledger.calls import CallPacker
from ledger.charging import charged_at_us, dimensions, of_model, rate
from ledger.copying import CHARGE, Why
from ledger.state import State
from tokenledger.records import PricedCall

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Charged(NamedTuple):
    """A call as it stands in the books."""

    call_id: int
    charged_at_us: int
    posting_id: int
    dim_no: int


class Posting(msgspec.Struct, frozen=True, gc=False):
    """Rows of one posting."""

    row: bytes
    """Its row of `postings`."""
    lines: bytes
    """Its rows of `lines`."""


class Charge(msgspec.Struct, frozen=True, gc=False):
    """A call that is charged, and its rows."""

    charged: Charged
    """Its place in the books."""
    posting: Posting
    """What is posted."""
    call: bytes
    """Its row of `calls`."""


class Poster:
    """Makes the postings of one batch; not for two threads at once."""

    def __init__(self, state: State, calls: CallPacker, posted_at_us: int) -> None:
        self._state = state
        self._calls = calls
        self.posted_at_us = posted_at_us

    def charge(
        self, priced: PricedCall, *, id_reuse: bool = False, call_id: int | None = None, why: Why = CHARGE
    ) -> Charge:
        """Charge a call: posting, lines and the row for people. A new call gets the number of its first posting."""
        state = self._state
        posting_id = state.take_id()
        dim_no = state.dimensions.number(dimensions(priced))
        charged = Charged(posting_id if call_id is None else call_id, charged_at_us(priced), posting_id, dim_no)
        posting = self._post(priced, charged, posting_id, why=why)
        return Charge(charged, posting, self._calls.row(charged, priced, id_reuse=id_reuse))

    def reverse(self, priced: PricedCall, charged: Charged, *, why: Why = CHARGE) -> Posting:
        """Take back what a posting charged."""
        return self._post(priced, charged, self._state.take_id(), reverses=charged.posting_id, why=why)

    def _post(
        self, priced: PricedCall, charged: Charged, posting_id: int, *, reverses: int | None = None, why: Why = CHARGE
    ) -> Posting:
        book_no = self._state.books.number(priced.book_version)
        closed = self._state.closed
        if charged.charged_at_us < closed.before_us and closed.holds(priced.call.tenant_id, charged.charged_at_us):
            why = why._replace(corrects=True)
        posting = (posting_id, self.posted_at_us, charged.charged_at_us, charged.dim_no)
        subject = (charged.call_id, priced.offset, priced.partition, book_no, priced.cost_usd_pico is None)
        row = copying.posting_row(posting, priced.latency, subject=subject, reverses=reverses, why=why)
        return Posting(row, self._lines(priced, posting, sign=1 if reverses is None else -1))

    def _lines(self, priced: PricedCall, posting: tuple[int, int, int, int], *, sign: int) -> bytes:
        lines = priced.lines
        if not lines:
            return b""
        tenant_id, number = priced.call.tenant_id, self._state.rates.number
        rate_nos = [number((tenant_id, rate(line))) for line in lines]
        if any([line.model for line in lines]):  # noqa: C419  (a list is quicker than a generator for so few)
            return self._lines_by_model(priced, posting, rate_nos=rate_nos, sign=sign)
        return copying.line_rows(posting, lines, rate_nos=rate_nos, sign=sign)

    def _lines_by_model(
        self, priced: PricedCall, posting: tuple[int, int, int, int], *, rate_nos: list[int], sign: int
    ) -> bytes:
        """Lines that another model consumed are rolled up under that model, whoever's call it was."""
        own, rows = dimensions(priced), []
        for line_no, (line, rate_no) in enumerate(zip(priced.lines, rate_nos, strict=True)):
            dim_no = self._state.dimensions.number(of_model(own, line.model)) if line.model else posting[3]
            place = (*posting[:3], dim_no)
            rows.append(copying.line_rows(place, (line,), rate_nos=(rate_no,), sign=sign, first_no=line_no))
        return b"".join(rows)


class Rows:
    """What one part of a batch adds, table by table."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.postings: list[Posting] = []
        self.charges: list[Charge] = []
        self.witnesses: list[tuple[int, bytes, str, bytes]] = []

    def clear(self) -> None:
        """All of it is written."""
        for written in (self.keys, self.postings, self.charges, self.witnesses):
            written.clear()

    def key(self, key: bytes, charged: Charged) -> None:
        """A key leads to a call."""
        self.keys.append(copying.key_row(key, charged.call_id, charged.charged_at_us))

    def charge(self, charge: Charge) -> None:
        """A call is charged."""
        self.charges.append(charge)
        self.postings.append(charge.posting)

    def witness(self, priced: PricedCall, call_id: int) -> None:
        """Keep a record that counts less."""
        fingerprint = bytes.fromhex(priced.fingerprint)
        self.witnesses.append((call_id, fingerprint, priced.call.tenant_id, _encode(priced)))
