"""Compares the last day with a stored reference, per tenant and feature, and says whether something stayed moved.

The first run makes the reference, of the week before; `tokenledger drift reference` makes a new one. `confirm` is
skipped unless the same columns moved in as many reports in a row as an alert needs; when it is not, `retrain_router`
starts. The report is HTML in the stack's folder `drift/reports`; the run's log names the file.
"""

from datetime import timedelta

from dags.assets import DRIFT_CONFIRMED, LAKE_DAY
from dags.running import described, given_or_day, moment, tokenledger

with described(
    "drift_report",
    __doc__,
    schedule=[LAKE_DAY],
    tags=["drift", "quality"],
    params={
        "since": moment("Calls from then on (default: the day before the run)"),
        "until": moment("Calls before then (default: the day of the run)"),
        "reference_since": moment("First reference: from then on (default: eight days before the run)"),
        "reference_until": moment("First reference: before then (default: the day before the run)"),
    },
):
    reference = tokenledger(
        "drift",
        "reference",
        options={
            "--drift": "$TOKENLEDGER_DRIFT",
            "--lake": "$TOKENLEDGER_LAKE",
            "--since": given_or_day("reference_since", days_before=8),
            "--until": given_or_day("reference_until", days_before=1),
        },
        unless="$TOKENLEDGER_DRIFT/reference",
        nothing_status=3,
        task_id="reference",
        pool="heavy",
        execution_timeout=timedelta(hours=1),
    )
    report = tokenledger(
        "drift",
        "report",
        options={
            "--drift": "$TOKENLEDGER_DRIFT",
            "--lake": "$TOKENLEDGER_LAKE",
            "--since": given_or_day("since", days_before=1),
            "--until": given_or_day("until", days_before=0),
        },
        nothing_status=3,
        task_id="report",
        pool="heavy",
        execution_timeout=timedelta(hours=1),
    )
    confirm = tokenledger(
        "drift",
        "alert",
        options={"--drift": "$TOKENLEDGER_DRIFT"},
        nothing_status=3,
        task_id="confirm",
        outlets=[DRIFT_CONFIRMED],
        execution_timeout=timedelta(minutes=5),
    )
    reference >> report >> confirm
