"""Charges and reversals of one batch as rows, ready to copy. Pure but for the numbers it takes from the state."""

from typing import Any, NamedTuple

import msgspec

from ledger import copying
from ledger.charging import charged_at_us, dimensions, of_model, rate
from ledger.columns import call_values
from ledger.state import State
from tokenledger.records import PricedCall

_encode = msgspec.json.encode


class Charged(NamedTuple):
    """A call as it stands in the books."""

    call_id: int
    charged_at_us: int
    posting_id: int
    dim_no: int


class CallRow(NamedTuple):
    """A row of `calls` to be."""

    charged: Charged
    id_reuse: bool
    priced: PricedCall

    def values(self) -> list[Any]:
        """One value a column."""
        return [*self.charged, self.id_reuse, *call_values(self.priced)]


class Rows:
    """What one batch adds, table by table."""

    def __init__(self, state: State, posted_at_us: int) -> None:
        self._state = state
        self.posted_at_us = posted_at_us
        self.keys: list[tuple[bytes, bytes]] = []
        self.postings: list[bytes] = []
        self.lines: list[bytes] = []
        self.calls: list[CallRow] = []
        self.witnesses: list[tuple[int, bytes, str, bytes]] = []

    def clear(self) -> None:
        """All of it is written."""
        for written in (self.keys, self.postings, self.lines, self.calls, self.witnesses):
            written.clear()

    def take_lines(self) -> bytes:
        """The lines that are ready, which are then gone from here."""
        ready = b"".join(self.lines)
        self.lines = []
        return ready

    def key(self, key: bytes, charged: Charged) -> None:
        """A key leads to a call."""
        self.keys.append((key, copying.key_row(key, charged.call_id, charged.charged_at_us)))

    def charge(self, priced: PricedCall, *, id_reuse: bool, call_id: int | None = None) -> Charged:
        """Charge a call: posting, lines and the row for people. A new call gets the number of its first posting."""
        state = self._state
        posting_id = state.take_id()
        dim_no = state.dimensions.number(dimensions(priced))
        charged = Charged(posting_id if call_id is None else call_id, charged_at_us(priced), posting_id, dim_no)
        self._post(priced, charged, posting_id)
        self.calls.append(CallRow(charged, id_reuse, priced))
        return charged

    def reverse(self, priced: PricedCall, charged: Charged) -> None:
        """Take back what a posting charged."""
        self._post(priced, charged, self._state.take_id(), reverses=charged.posting_id)

    def witness(self, priced: PricedCall, call_id: int) -> None:
        """Keep a record that counts less."""
        fingerprint = bytes.fromhex(priced.fingerprint)
        self.witnesses.append((call_id, fingerprint, priced.call.tenant_id, _encode(priced)))

    def _post(self, priced: PricedCall, charged: Charged, posting_id: int, *, reverses: int | None = None) -> None:
        state = self._state
        posting = (posting_id, self.posted_at_us, charged.charged_at_us, charged.dim_no)
        book_no = state.books.number(priced.book_version)
        subject = (charged.call_id, priced.offset, priced.partition, book_no, priced.cost_usd_pico is None)
        self.postings.append(copying.posting_row(posting, priced.latency, subject=subject, reverses=reverses))
        if priced.lines:
            tenant_id, rates = priced.call.tenant_id, state.rates
            known = rates.known.get
            keys = [(tenant_id, rate(line)) for line in priced.lines]
            rate_nos = [known(key) or rates.number(key) for key in keys]
            sign = 1 if reverses is None else -1
            if any(line.model for line in priced.lines):
                self._post_by_model(priced, posting, rate_nos=rate_nos, sign=sign)
            else:
                self.lines += copying.line_rows(posting, priced.lines, rate_nos=rate_nos, sign=sign)

    def _post_by_model(
        self, priced: PricedCall, posting: tuple[int, int, int, int], *, rate_nos: list[int], sign: int
    ) -> None:
        """Lines that another model consumed are rolled up under that model, whoever's call it was."""
        own = dimensions(priced)
        for number, (line, rate_no) in enumerate(zip(priced.lines, rate_nos, strict=True)):
            dim_no = self._state.dimensions.number(of_model(own, line.model)) if line.model else posting[3]
            place = (*posting[:3], dim_no)
            self.lines += copying.line_rows(place, (line,), rate_nos=(rate_no,), sign=sign, first_no=number)
