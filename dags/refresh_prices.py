"""Brings the catalogue of prices that the installed packages hold into the price book, and charges calls by it.

`difference` shows what would change and touches nothing. A jump, or a slip of a hundredfold, holds everything: the run
fails there until somebody has looked and starts it again with `confirm`. Then `import` takes it, `money` shows what the
book changes in the ledger, and `reprice` posts reversals and new charges. Closed months are left alone, and the run
says so by failing. By hand: `tokenledger prices import`, `tokenledger reprice`.
"""

from datetime import timedelta

from airflow.sdk import Param

from dags.running import Command, described, given_or_day, moment, tokenledger

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

    def _import(task_id: str, *words: str) -> Command:
        return tokenledger(
            "prices",
            "import",
            *words,
            options={"--confirm": "{{ params.confirm }}"},
            final_status=1,
            task_id=task_id,
            pool="ledger",
            execution_timeout=timedelta(minutes=10),
        )

    def _reprice(task_id: str, word: str, *, hours: int) -> Command:
        return tokenledger(
            "reprice",
            word,
            options={"--since": given_or_day("since", days_before=31)},
            final_status=1,
            task_id=task_id,
            pool="ledger",
            execution_timeout=timedelta(hours=hours),
        )

    (
        _import("difference", "--dry-run")
        >> _import("import")
        >> _reprice("money", "--dry-run", hours=1)
        >> _reprice("reprice", "--reason=prices refreshed by {{ run_id }}", hours=2)
    )
