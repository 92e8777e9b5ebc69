"""How a supervised process ends: when told to, after the work at hand, or by a failure that is logged."""

import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

_LOOK_EVERY_S: Final = 0.1


class Stop:
    """Whether SIGTERM or SIGINT asked for the end; whoever works looks between two pieces of work."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True

    def wait(self, seconds: float) -> None:
        """So long, or until asked."""
        end_s = time.monotonic() + seconds
        while not self.asked and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _LOOK_EVERY_S))


def run_supervised(run: Callable[[Stop], None], log: logging.Logger) -> int:
    """Exit status: 0 when told to end, 1 for what nobody expected, which the supervisor answers by a new start."""
    try:
        run(Stop())
    except Exception:
        log.exception("ended")
        return 1
    log.info("stopped")
    return 0
