"""Brings the catalogue of prices that the installed packages hold into the ledger's price book.

`difference` shows what would change and touches nothing. A jump, or a slip of a hundredfold, holds everything: the run
fails there until somebody has looked and starts it again with `confirm`. Then `import` takes it. How many calls were
priced by an older book, `backfill` counts. By hand: `tokenledger prices import`.
"""

from datetime import timedelta

from airflow.sdk import Param

from dags.running import described, tokenledger

with described(
    "refresh_prices",
    __doc__,
    schedule="0 5 * * *",
    tags=["operations", "prices"],
    params={
        "confirm": Param(
            "",
            type="string",
            pattern=r"^([A-Za-z0-9._/:@-]{1,200})?$",
            title="PROVIDER/MODEL to take although it jumps",
        )
    },
):
    difference = tokenledger(
        "prices",
        "import",
        "--dry-run",
        options={"--confirm": "{{ params.confirm }}"},
        final_status=1,
        task_id="difference",
        pool="ledger",
        execution_timeout=timedelta(minutes=10),
    )
    imported = tokenledger(
        "prices",
        "import",
        options={"--confirm": "{{ params.confirm }}"},
        final_status=1,
        task_id="import",
        pool="ledger",
        execution_timeout=timedelta(minutes=10),
    )
    difference >> imported
