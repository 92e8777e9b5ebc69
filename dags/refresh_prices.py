"""Brings the catalogue of prices that the installed packages hold into the price book, and charges calls by it.

`difference` shows what would change and touches nothing. A jump, or a slip of a hundredfold, holds everything: the run
fails there until somebody has looked and starts it again with `confirm`. Then `import` takes it, `money` shows what the
book changes in the ledger, and `reprice` posts reversals and new charges. Closed months are left alone, and the run
says so by failing. By hand: `tokenledger prices import`, `tokenledger reprice`.
"""

from datetime import timedelta

from airflow.sdk import Param

from dags.running import described, given_or_day, moment, tokenledger

with described(
    "refresh_prices",
    __doc__,
    schedule="0 5 * * *",
    tags=["operations", "prices"],
    params={
        "since": moment("Calls to charge anew, from then on (default: 31 days before the run)"),
        "confirm": Param(
            "",
            type="string",
            pattern=r"^([A-Za-z0-9._/:@-]{1,200})?$",
            title="PROVIDER/MODEL to take although it jumps",
        ),
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
    since = {"--since": given_or_day("since", days_before=31)}
    money = tokenledger(
        "reprice",
        "--dry-run",
        options=since,
        task_id="money",
        pool="ledger",
        execution_timeout=timedelta(minutes=30),
    )
    reprice = tokenledger(
        "reprice",
        "--reason=prices refreshed by {{ run_id }}",
        options=since,
        final_status=1,
        task_id="reprice",
        pool="ledger",
        execution_timeout=timedelta(hours=2),
    )
    difference >> imported >> money >> reprice
