"""Asks the ledger now and then what features have cost; the days before today seldom, for they seldom change."""

import time
from typing import Final

import psycopg

from feature_repo.spend import Key, Sums, days_before, spend_features, sums, today
from ledger.database import Connection, connect
from ledger.settings import Settings
from tokenledger.records.features import SpendFeatures

_DAY_S: Final = 86_400
_PAST_EVERY_S: Final = 300.0


class Spending:
    """One connection, made again when it is lost. Used by one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Connection | None = None
        self._before: dict[Key, Sums] = {}
        self._before_of: tuple[int, int] | None = None
        self._asked_before_s = 0.0
        self._told: set[Key] = set()

    def ask(self, *, now_s: float) -> dict[Key, SpendFeatures]:
        """Spend of the day and month of everybody who has any. Raises psycopg.Error."""
        today_us, month_us = _starts(now_s)
        try:
            connection = self._connection = self._connection or connect(
                self._settings, application="tokenledger-pusher"
            )
            if self._before_of != (month_us, today_us) or now_s - self._asked_before_s >= _PAST_EVERY_S:
                self._before = sums(connection, days_before(month_us, today_us))
                self._before_of, self._asked_before_s = (month_us, today_us), now_s
            found = spend_features(self._before, sums(connection, today(today_us)), also=self._told)
        except psycopg.Error:
            self.close()
            raise
        self._told = {key for key, features in found.items() if features.calls_month}
        return found

    def close(self) -> None:
        """Leave Postgres alone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _starts(now_s: float) -> tuple[int, int]:
    """Start of the UTC day and of its month, µs."""
    today_s = int(now_s) // _DAY_S * _DAY_S
    month_s = today_s - (time.gmtime(today_s).tm_mday - 1) * _DAY_S
    return today_s * 1_000_000, month_s * 1_000_000
