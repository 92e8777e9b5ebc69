"""A defect of ours in the reading of one reply: it costs that record its facts, never the process its accounts.

What an upstream may say has no end, and what reads it is large. Whoever keeps accounts asks here, and goes on without.
"""

from collections.abc import Callable
from typing import Final, Literal, TypeVar

from ledger.observing import logger
from serving.gateway.account_metrics import NOT_UNDERSTOOD

T = TypeVar("T")
Place = Literal["reply", "outcome", "cost", "texts", "restored", "shipped", "stored"]

log: Final = logger("serving.gateway.defects")


def survived(place: Place, reading: Callable[[], T]) -> T | None:
    """What the reading gives; None where it raises, which is counted and told without a word of the reply."""
    try:
        return reading()
    except Exception as defect:  # noqa: BLE001 - whatever it is, the other records must go on
        told = _told(defect)
        NOT_UNDERSTOOD.labels(place, told["type"]).inc()
        log.error("a record was not understood", extra={"facts": {"place": place} | told})  # noqa: TRY400 - see _told
        return None


def _told(defect: Exception) -> dict[str, str]:
    """Its type and the line that raised it; its message may quote what was read."""
    trace = defect.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    line = "" if trace is None else f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
    return {"type": type(defect).__name__, "line": line}
