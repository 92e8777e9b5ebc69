"""One attempt at one upstream: its intent before, its outcome after, exactly one of each."""

import time
from typing import Final

import msgspec

from ledger.observing import logger
from serving.gateway import metrics
from serving.gateway.capturing import Kept
from serving.gateway.connection import Exchange
from serving.gateway.deadlines import NEVER, now_s
from serving.gateway.defects import survived
from serving.gateway.fleet import Deployment, Server
from serving.gateway.records import Accounting, Intent, Outcome
from serving.gateway.replies import Facts
from serving.gateway.sse import Stream

log = logger("serving.gateway.attempt")

_FIRST_ERROR_STATUS: Final = 400
_FIRST_SERVER_STATUS: Final = 500
NOT_NEEDED: Final = "not_needed"
"""`error_type` of an attempt that was ended because another one's answer serves."""
TOO_LATE: Final = "operation_deadline"
"""`error_type` of an attempt that was ended because its operation had no more time."""

_NOT_THE_SERVER: Final = frozenset(
    {"client_disconnected", "gateway_stopped", "gateway_failed", "upstream_overloaded", NOT_NEEDED, TOO_LATE}
)


class _Sparing:
    """Lets so many a second through: an outage must not drown its own log."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = 0
        self._seen = 0

    def one_more(self, at_s: float) -> bool:
        """Whether one more may pass."""
        if int(at_s) != self._second:
            self._second, self._seen = int(at_s), 0
        self._seen += 1
        return self._seen <= self._per_second


_LOGGED: Final = _Sparing(per_second=10)
"""Failed attempts that are logged; all of them are counted."""


def now_us() -> int:
    """µs UTC."""
    return time.time_ns() // 1_000


class Attempt:
    """One intent that is durable, until its outcome is told."""

    __slots__ = (
        "_accounting",
        "_settled",
        "cost_usd_pico",
        "deployment",
        "ended_at_us",
        "ended_by",
        "exchange",
        "input_tokens_seen",
        "intent",
        "sent_at_s",
        "server",
        "texts",
        "timings_us",
    )

    def __init__(self, accounting: Accounting, intent: Intent, *, deployment: Deployment, server: Server) -> None:
        self._accounting = accounting
        self._settled = False
        self.intent = intent
        self.deployment = deployment
        self.server = server
        self.exchange: Exchange | None = None
        self.cost_usd_pico: int | None = None
        """What it cost, 10⁻¹² USD, once its outcome is told and where that is wholly known."""
        self.ended_by: str | None = None
        """Why it is ended before its end, where we end it."""
        self.ended_at_us: int | None = None
        """When its reply was whole, where its outcome is told later."""
        self.input_tokens_seen: int | None = None
        """What another upstream counted of the same input."""
        self.texts: Kept | None = None
        """Takes what is answered, where the tenant allows that it is kept."""
        self.sent_at_s = 0.0
        self.timings_us: dict[str, int] = {}

    @property
    def settled(self) -> bool:
        """Whether its outcome is told."""
        return self._settled

    def settle(
        self,
        facts: Facts | None = None,
        *,
        error: str | None = None,
        stream: Stream | None = None,
        aborted: bool = False,
        served: bool | None = None,
    ) -> int | None:
        """Tell what came of it; the known cost, 10⁻¹² USD, where it is wholly known."""
        assert not self._settled, "an attempt has one outcome"  # noqa: S101  (our own mistake, not the world's)
        self._settled = True
        exchange = self.exchange
        ended_at_us = self.ended_at_us or now_us()
        self.timings_us["total"] = max(ended_at_us - self.intent.started_at_us, 0)
        times = tuple(stream.times_us) if stream is not None else ()
        cost_usd_pico = self.cost_usd_pico = self._accounting.settle(
            self.intent,
            Outcome(
                event_id=self.intent.event_id,
                http_status=(exchange.status or None) if exchange is not None else None,
                reply=survived("reply", facts.encoded) if facts is not None else None,
                first_token_at_us=times[0] if times else None,
                ended_at_us=ended_at_us,
                token_times_us=times,
                timings_us=self.timings_us,
                aborted=aborted,
                error_type=error,
                output_chunks=stream.chunks if stream is not None else 0,
                served=served,
                input_tokens_seen=self.input_tokens_seen,
                texts=None if self.texts is None else self.texts.at,
            ),
        )
        self._judge(error)
        if error is not None and error not in _NOT_THE_SERVER and _LOGGED.one_more(now_s()):
            self._log(error)
        return cost_usd_pico

    def _log(self, error: str) -> None:
        facts = {
            "error": error,
            "http_status": self.exchange.status if self.exchange is not None else None,
            "upstream": self.deployment.name,
            "replica": self.server.name,
            "operation_id": self.intent.operation_id,
            "event_id": self.intent.event_id,
        }
        log.warning("an attempt failed", extra={"facts": facts})

    def _judge(self, error: str | None) -> None:
        """What it says of the replica, and of the upstream's figures."""
        status = self.exchange.status if self.exchange is not None else 0
        breaker = self.server.breaker
        opened = breaker.opened_total
        if error in _NOT_THE_SERVER:
            breaker.undecided()
        elif status >= _FIRST_SERVER_STATUS or (error is not None and status < _FIRST_ERROR_STATUS):
            breaker.failed(now_s())
        elif status >= _FIRST_ERROR_STATUS:
            breaker.undecided()
        else:
            breaker.succeeded()
        name = self.deployment.name
        if breaker.opened_total != opened:
            metrics.BREAKER_OPENED.labels(name, self.server.name).inc()
        outcome = str(status) if status >= _FIRST_ERROR_STATUS else error or "ok"
        metrics.attempts(name, outcome).inc()
        if self.exchange is not None and self.exchange.answered_at_s < NEVER:
            metrics.first_byte_seconds(name).observe(self.exchange.answered_at_s - self.sent_at_s)


def with_reservation(intent: Intent, reserved_usd_pico: int) -> Intent:
    """The intent, saying what was reserved for it. Nobody else has seen it yet, so it need not be copied."""
    if reserved_usd_pico:
        msgspec.structs.force_setattr(intent, "reserved_usd_pico", reserved_usd_pico)
    return intent
