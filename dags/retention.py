"""Removes old days of the lake, texts sooner than calls.

Kafka removes what is old by itself. Months of the ledger's books go by `tokenledger retention`, which needs their owner
and is no task for a schedule (docs/recover.md). By hand: `tokenledger lake retain`.
"""

from datetime import timedelta

from airflow.sdk import Param

from dags.running import Command, described, tokenledger

with described(
    "retention",
    __doc__,
    schedule="0 4 * * 0",
    tags=["operations", "lake"],
    params={
        "texts_days": Param(90, type="integer", minimum=1, title="Days for which texts are kept"),
        "calls_days": Param(800, type="integer", minimum=1, title="Days for which calls are kept"),
    },
):

    def _retain(table: str) -> Command:
        return tokenledger(
            "lake",
            "--lake=$TOKENLEDGER_LAKE",
            "retain",
            options={"--table": table, "--days": f"{{{{ params.{table}_days }}}}"},
            task_id=table,
            pool="lake",
            execution_timeout=timedelta(minutes=30),
        )

    _retain("texts") >> _retain("calls")
