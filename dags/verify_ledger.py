"""Proves every hour that the ledger holds each record once and that its sums agree.

A difference fails the run, and its log names each one. Retried twice first: a writer that is behind is no difference.
By hand: `tokenledger verify`.
"""

from datetime import datetime, timedelta

from airflow.sdk import DAG

from dags.running import DEFAULTS, tokenledger

with DAG(
    "verify_ledger",
    schedule=timedelta(hours=1),
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow reads it in its own time zone, UTC
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(minutes=30),
    default_args=DEFAULTS,
    tags=["operations", "ledger"],
    doc_md=__doc__,
):
    tokenledger("verify", task_id="verify", pool="ledger", execution_timeout=timedelta(minutes=10))
