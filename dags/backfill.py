"""Judges a range of raw records again by the same `process` and compares each with the ledger, to the pico.

A run is for the day before it; `since` and `until` say another range, and a backfill of a week is seven runs. With
`send`, records that have no outcome yet go where the stream would have sent them; the ledger takes each once. Fails
when something differs, or is missing and was not sent. By hand: `tokenledger backfill`.
"""

from datetime import timedelta

from airflow.sdk import Param

from dags.running import described, given_or_day, moment, tokenledger

with described(
    "backfill",
    __doc__,
    schedule="0 2 * * *",
    dagrun_timeout=timedelta(hours=6),
    tags=["operations", "ledger"],
    params={
        "since": moment("First instant (default: the day before the run)"),
        "until": moment("End, not included (default: the day of the run)"),
        "send": Param(default=False, type="boolean", title="Send what has no outcome"),
    },
):
    tokenledger(
        "backfill",
        "{{ '--send' if params.send else '' }}",
        options={"--since": given_or_day("since", days_before=1), "--until": given_or_day("until", days_before=0)},
        final_status=1,
        task_id="backfill",
        pool="ledger",
        execution_timeout=timedelta(hours=2),
    )
