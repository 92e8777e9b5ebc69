"""Makes a day of the lake whole: small files put together, counted, and compared with the ledger.

A run is for the day before it. Only when the day's files, its manifest and the ledger agree do the DAGs start that read
the lake. By hand: `tokenledger lake compact`, `tokenledger lake manifest`, `tokenledger lake verify`.
"""

from datetime import timedelta

from dags.assets import LAKE_DAY
from dags.running import described, given_or_day, moment, tokenledger

_DAY = {"--day": given_or_day("day", days_before=1)}

with described(
    "compact_lake",
    __doc__,
    schedule="30 0 * * *",
    dagrun_timeout=timedelta(hours=4),
    tags=["operations", "lake"],
    params={"day": moment("Day (default: the day before the run)")},
):
    compact = tokenledger(
        "lake",
        "--lake=$TOKENLEDGER_LAKE",
        "compact",
        task_id="compact",
        pool="lake",
        execution_timeout=timedelta(hours=1),
    )
    manifest = tokenledger(
        "lake",
        "--lake=$TOKENLEDGER_LAKE",
        "manifest",
        options=_DAY,
        task_id="manifest",
        pool="lake",
        execution_timeout=timedelta(minutes=30),
    )
    verify = tokenledger(
        "lake",
        "--lake=$TOKENLEDGER_LAKE",
        "verify",
        options=_DAY,
        task_id="verify",
        pool="lake",
        outlets=[LAKE_DAY],
        execution_timeout=timedelta(minutes=30),
    )
    compact >> manifest >> verify
