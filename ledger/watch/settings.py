"""When the watcher speaks up: read once from the environment, then passed down."""

from collections.abc import Mapping

import msgspec

from ledger.watch.arrivals import Patience

_SECOND_US = 1_000_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is too much, too little or too late."""

    every_us: int
    """Alerts are judged so often."""
    hold_us: int
    """An alert closes when its trouble was away for so long."""
    window_us: int
    """Shares of rejects are of so long a time."""
    reject_ratio: float
    """Share of rejects that opens an alert; half of it lets it close."""
    reject_records: int
    """A window with fewer records opens none."""
    incomplete_ratio: float
    """Share of calls without a whole price that opens an alert; half of it lets it close."""
    incomplete_calls: int
    """A day with fewer calls opens none."""
    behind_us: int
    """A raw record should have its outcome within so long."""
    gap_us: int
    """A number that is missing may be late by so long."""
    patience: Patience
    """How long a source may be quiet."""
    verify_every_us: int
    """The ledger's sums are compared so often; 0 is never."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Limits":
        """Read `TOKENLEDGER_WATCH_…`. Raises ValueError for what is no number."""

        def number(name: str, default: float) -> float:
            return float(environment.get(f"TOKENLEDGER_WATCH_{name}", default))

        def us(name: str, default_s: float) -> int:
            return round(number(name, default_s) * _SECOND_US)

        return cls(
            every_us=us("EVERY_S", 15),
            hold_us=us("HOLD_S", 120),
            window_us=us("WINDOW_S", 900),
            reject_ratio=number("REJECT_RATIO", 0.05),
            reject_records=round(number("REJECT_RECORDS", 20)),
            incomplete_ratio=number("INCOMPLETE_RATIO", 0.05),
            incomplete_calls=round(number("INCOMPLETE_CALLS", 20)),
            behind_us=us("BEHIND_S", 120),
            gap_us=us("GAP_S", 60),
            patience=Patience(
                factor=round(number("SILENT_FACTOR", 3)),
                floor_us=us("SILENT_FLOOR_S", 600),
                ceiling_us=us("SILENT_CEILING_S", 3 * 24 * 3600),
                history_us=us("SILENT_HISTORY_S", 1800),
                records=round(number("SILENT_RECORDS", 30)),
            ),
            verify_every_us=us("VERIFY_EVERY_S", 6 * 3600),
        )
