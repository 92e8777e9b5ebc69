"""When a replica is left alone, and how often anything may be tried again. Pure: the clock is an argument."""

from collections import deque

from serving.gateway.configuration import MILLIS_PER_SECOND, Breaker, Retries


class CircuitBreaker:
    """Closed: all go through. Open: none. After a while one may probe; its luck decides.

    Every `admit` that said yes is followed by exactly one of `succeeded`, `failed` and `undecided`.
    """

    __slots__ = ("_consecutive", "_opened_until_s", "_policy", "_probing", "_recent", "_times_open", "opened_total")

    def __init__(self, policy: Breaker) -> None:
        self._policy = policy
        self._recent: deque[bool] = deque(maxlen=policy.window)
        self._consecutive = 0
        self._opened_until_s: float | None = None
        self._probing = False
        self._times_open = 0
        self.opened_total = 0

    @property
    def closed(self) -> bool:
        """Whether all go through."""
        return self._opened_until_s is None

    def allows(self, now_s: float) -> bool:
        """Whether one more may go."""
        return self._opened_until_s is None or (not self._probing and now_s >= self._opened_until_s)

    def admit(self) -> None:
        """One goes; while open, it is the probe."""
        self._probing = self._opened_until_s is not None

    def succeeded(self) -> None:
        """It did what it should."""
        self._probing = False
        self._consecutive = 0
        if self._opened_until_s is not None:
            self._opened_until_s = None
            self._times_open = 0
            self._recent.clear()
        self._recent.append(True)

    def failed(self, now_s: float) -> None:
        """It did not."""
        self._consecutive += 1
        self._recent.append(False)
        if self._probing or (self._opened_until_s is None and self._is_too_much()):
            self._open(now_s)
        self._probing = False

    def undecided(self) -> None:
        """It says nothing about the replica: the client left, or its own request was wrong."""
        self._probing = False

    def _is_too_much(self) -> bool:
        full = len(self._recent) == self._policy.window
        failures = self._recent.count(False)
        return self._consecutive >= self._policy.failures or (
            full and failures > 0 and failures >= self._policy.ratio * self._policy.window
        )

    def _open(self, now_s: float) -> None:
        open_ms = min(self._policy.open_ms << min(self._times_open, 20), self._policy.longest_open_ms)
        self._times_open += 1
        self.opened_total += 1
        self._opened_until_s = now_s + open_ms / MILLIS_PER_SECOND


class RetryBudget:
    """Retries as a share of requests, so that trying again never multiplies an outage."""

    __slots__ = ("_burst", "_share", "_tokens")

    def __init__(self, policy: Retries) -> None:
        self._share = policy.share
        self._burst = float(policy.burst)
        self._tokens = self._burst

    def requested(self) -> None:
        """One more request came."""
        self._tokens = min(self._burst, self._tokens + self._share)

    def take(self) -> bool:
        """Whether one may be tried again."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
