"""How far the ledger is behind the log, in seconds, by the journal's acknowledgements and the ledger's own offsets."""

import json
import threading
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO

import psycopg

from tests.faults import books

BEHIND_S = 5.0
"""A ledger that is no further behind than this has caught up."""
_LOOK_EVERY_S = 0.25


class Meter:
    """Follows a journal; `lag_s` is the age of the oldest acknowledged record that the ledger has not seen."""

    def __init__(self, journal: Path, dsn: str) -> None:
        self._journal, self._dsn = journal, dsn
        self._file: BinaryIO | None = None
        self._waiting: dict[int, deque[tuple[int, float]]] = {}
        self._connection: books.Connection | None = None
        self.lag_s = float("inf")
        self.acknowledged = 0
        self.worst_s = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Look on until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._close()
        if self._file is not None:
            self._file.close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def caught_up_within(self, within_s: float) -> float | None:
        """Seconds until it has caught up and stays so for a second; None if it does not in time."""
        began_s = time.monotonic()
        since_s: float | None = None
        while True:
            now_s = time.monotonic()
            since_s = (since_s or now_s) if self.lag_s < BEHIND_S else None
            if since_s is not None and now_s - since_s >= 1.0:
                return since_s - began_s
            if now_s - began_s > within_s:
                return None
            time.sleep(_LOOK_EVERY_S)

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            self._follow()
            try:
                self.lag_s = self._measured()
            except psycopg.Error:
                self._close()
                self.lag_s = float("inf")
            else:
                self.worst_s = max(self.worst_s, self.lag_s)

    def _follow(self) -> None:
        if self._file is None:
            if not self._journal.exists():
                return
            self._file = self._journal.open("rb")
        while True:
            place = self._file.tell()
            line = self._file.readline()
            if not line.endswith(b"\n"):
                self._file.seek(place)
                return
            if line.startswith(b'{"ack"'):
                one = json.loads(line)
                self.acknowledged += 1
                self._waiting.setdefault(one["p"], deque()).append((one["o"], one["ms"] / 1000))

    def _measured(self) -> float:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=3, options="-c statement_timeout=3000"
            )
        seen = books.reached(self._connection)
        oldest_s = None
        for partition, waiting in self._waiting.items():
            while waiting and waiting[0][0] < seen.get(partition, 0):
                waiting.popleft()
            if waiting:
                oldest_s = min(oldest_s or waiting[0][1], waiting[0][1])
        return max(time.time() - oldest_s, 0.0) if oldest_s is not None else 0.0
