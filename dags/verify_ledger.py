"""Proves every hour that the ledger holds each record once and that its sums agree.

A difference fails the run, and its log names each one. Retried twice first: a writer that is behind is no difference.
By hand: `tokenledger verify`.
"""

from datetime import timedelta

from dags.assets import LEDGER_RIGHT
from dags.running import described, tokenledger

with described(
    "verify_ledger",
    __doc__,
    schedule=timedelta(hours=1),
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(minutes=30),
    tags=["operations", "ledger"],
):
    tokenledger(
        "verify", task_id="verify", pool="ledger", outlets=[LEDGER_RIGHT], execution_timeout=timedelta(minutes=10)
    )
