"""What a run of `tokenledger price` found out: sums or rows, every record's outcome, and what could not be read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from tokenledger.commands.cost_table import Groups, Sums, group_key, sums_of
from tokenledger.commands.outcomes import Outcome, Run, counts
from tokenledger.commands.rows import rejected_json, row_json, with_anomaly, with_outcome
from tokenledger.pricing import PriceBook
from tokenledger.readers import Found, Unreadable
from tokenledger.records.priced import PricedCall
from tokenledger.records.reasons import Anomaly, Reason
from tokenledger.records.rejected import Rejected

NOT_UNDERSTOOD: Final = "(not understood)"
_NAMES: Final = {outcome: outcome.name.lower() for outcome in Outcome}
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[tuple[str, ...], Sums]).decode


class LostRecordsError(AssertionError):
    """The outcomes do not add up to the records found: a defect of ours."""


class Keeper(Protocol):
    """What is kept of each record until all of them were seen."""

    def call(self, priced: PricedCall, found: Found) -> bytes:
        """Of a call."""

    def rejected(self, rejected: Rejected, found: Found) -> bytes:
        """Of a rejected record."""


class RowKeeper:
    """Keeps the finished row."""

    def call(self, priced: PricedCall, found: Found) -> bytes:
        """The row of a call."""
        return row_json(priced, found)

    def rejected(self, rejected: Rejected, found: Found) -> bytes:
        """The row of a rejected record."""
        return rejected_json(rejected, found)


class SumKeeper:
    """Adds each call to its row of the table at once, and keeps what would have to be taken back."""

    def __init__(self, names: tuple[str, ...], groups: Groups) -> None:
        self._key_of = group_key(names)
        self._groups = groups

    def call(self, priced: PricedCall, _found: Found) -> bytes:
        """The call's row and what it added there."""
        key, sums = self._key_of(priced), sums_of(priced)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Sums()
        group.add(sums)
        return _encode((key, sums))

    def rejected(self, _rejected: Rejected, _found: Found) -> bytes:
        """Nothing: what is not understood belongs to no row."""
        return b""


@dataclass(kw_only=True)
class Report:
    """The result of a run, and how it was asked for."""

    names: tuple[str, ...]
    """Dimensions of the table."""
    per_call: bool
    """Rows instead of sums."""
    no_merge: bool
    """All records are shown, each with its outcome."""
    book: PriceBook
    """The prices."""
    found: int = 0
    """Records the readers found."""
    problems: list[Unreadable] = field(default_factory=list)
    """Files that could not be read."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Rejected records by reason."""
    groups: Groups = field(default_factory=dict)
    """The table."""
    outcomes: bytearray = field(default_factory=bytearray)
    """Every record's outcome, in input order."""

    def settle(self, records: Run) -> None:
        """Decide every outcome, and take back from the table what does not count."""
        self.outcomes = records.settle()
        fate = self.fate()
        if sum(fate.values()) != self.found or fate[Outcome.REJECTED] != self.reasons.total():
            message = f"{self.found} records were found, but the outcomes are {fate}: please report this"
            raise LostRecordsError(message)
        if not self.per_call:
            self._settle_groups(records)

    def fate(self) -> dict[Outcome, int]:
        """How many records have each outcome."""
        return counts(self.outcomes)

    def exit_status(self) -> int:
        """0, or 1 if anything was not understood."""
        faults = self.reasons.total() - self.reasons[Reason.NOT_A_CALL.value]
        return 1 if faults or self.problems else 0

    def shown_names(self) -> tuple[str, ...]:
        """Dimensions of the table as it is shown."""
        return (*self.names, "outcome") if self.no_merge else self.names

    def rows(self, records: Run) -> Iterator[bytes]:
        """JSON of every row that is shown, in input order."""
        for index, (outcome, row) in enumerate(zip(self.outcomes, records.payloads(), strict=True)):
            if outcome in _HIDDEN and not self.no_merge:
                continue
            reused = index in records.reused
            shown = with_anomaly(row, Anomaly.ID_REUSE.value) if reused else row
            yield with_outcome(shown, _NAMES[Outcome(outcome)])

    def _settle_groups(self, records: Run) -> None:
        if self.no_merge:
            self.groups = {(*key, _NAMES[Outcome.CALL]): sums for key, sums in self.groups.items()}
        for index, outcome in enumerate(self.outcomes):
            if outcome in _HIDDEN:
                self._take_back(records, index, outcome=_NAMES[Outcome(outcome)])
        for index in records.reused:
            key, sums = _decode(records.payload(index))
            self.groups[self._shown(key, "call")].anomalies += not sums.anomalies
        rejected = self.fate()[Outcome.REJECTED]
        if rejected:
            key = (NOT_UNDERSTOOD, *("" for _ in self.names[1:]))
            self.groups[self._shown(key, "rejected")] = Sums(rejected=rejected)

    def _take_back(self, records: Run, index: int, *, outcome: str) -> None:
        key, sums = _decode(records.payload(index))
        counted = self._shown(key, "call")
        self.groups[counted].add(sums, times=-1)
        if self.no_merge:
            self.groups.setdefault(self._shown(key, outcome), Sums()).add(sums)
        if not self.groups[counted].calls:
            del self.groups[counted]

    def _shown(self, key: tuple[str, ...], outcome: str) -> tuple[str, ...]:
        return (*key, outcome) if self.no_merge else key


_HIDDEN: Final = frozenset({Outcome.DUPLICATE.value, Outcome.SUPERSEDED.value})
