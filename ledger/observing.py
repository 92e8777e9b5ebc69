"""What the ledger's processes tell of themselves: JSON lines on stderr, /metrics and /healthz on 127.0.0.1."""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import Counter, Gauge, Histogram, make_wsgi_app

RECORDS: Final = Counter(
    "tokenledger_ledger_records_total",
    "Records taken from the topics, by outcome at the time; redelivered ones had their outcome before",
    ["outcome"],
)
BATCH_SECONDS: Final = Histogram(
    "tokenledger_ledger_batch_seconds",
    "Time of one transaction",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
VISIBLE_SECONDS: Final = Histogram(
    "tokenledger_ledger_visible_seconds",
    "From the append of the raw record to its commit in the ledger, oldest record of each batch",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
RETRIES: Final = Counter("tokenledger_ledger_retries_total", "Times the database was not there and was tried again")
LAG: Final = Gauge("tokenledger_ledger_lag_records", "Records of the topics not yet read", ["topic", "partition"])
ALERTS: Final = Gauge("tokenledger_watch_alerts_records", "Alerts that are open", ["state"])
SLOT_KEPT: Final = Gauge(
    "tokenledger_watch_slot_kept_bytes", "What Postgres keeps of its log for a reader of changes", ["slot"]
)
HEARD: Final = Counter("tokenledger_watch_records_total", "Records of the raw topic whose headers the watcher read")
ARRIVALS: Final = Counter(
    "tokenledger_ledger_arrivals_total",
    "Calls without a price that were looked at because the price book had changed",
    ["outcome"],
)
UNPRICED: Final = Gauge("tokenledger_ledger_unpriced_records", "Calls that wait for a price")
COMPACTED: Final = Counter("tokenledger_ledger_compactions_total", "Transactions of the compactor")
STALE: Final = Counter(
    "tokenledger_ledger_stale_total", "Calls queued to be charged anew, as an older book priced them than was known"
)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def logger(name: str) -> logging.Logger:
    """A logger that writes one JSON object a line; put more fields in `extra={"facts": {...}}`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    made = logging.getLogger(name)
    made.handlers = [handler]
    made.propagate = False
    made.setLevel(logging.INFO)
    return made


class Pulse:
    """When the process last got on."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._beat_s = time.monotonic()

    def beat(self) -> None:
        """It got on."""
        self._beat_s = time.monotonic()

    def healthy(self) -> bool:
        """Whether that was lately."""
        return time.monotonic() - self._beat_s < self._limit_s


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (named so by the base class)
        """Requests are not worth a line."""


def serve(port: int | None, pulse: Pulse) -> None:
    """Serve /metrics and /healthz in a thread, if a port is given."""
    if port is None:
        return
    metrics = make_wsgi_app()

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/healthz":
            rendered: Iterable[bytes] = metrics(environ, start)
            return rendered
        healthy = pulse.healthy()
        start("200 OK" if healthy else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"ok\n" if healthy else b"no progress\n"]

    server = make_server("127.0.0.1", port, application, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
