"""Checks every captured answer that has no score yet: schema, refusal, language, length; a judge is asked by hand.

What was scored is not scored again until the rules change, so a run that is repeated does nothing twice. Skipped when
nothing was captured. By hand: `tokenledger score run`.
"""

from datetime import timedelta

from dags.assets import LAKE_DAY, SCORES
from dags.running import described, moment, tokenledger

with described(
    "score_responses",
    __doc__,
    schedule=[LAKE_DAY],
    tags=["datasets", "quality"],
    params={
        "since": moment("Calls from then on (default: all)"),
        "until": moment("Calls before then (default: all)"),
    },
):
    tokenledger(
        "score",
        "run",
        options={
            "--lake": "$TOKENLEDGER_LAKE",
            "--scores": "$TOKENLEDGER_SCORES",
            "--since": "{{ params.since }}",
            "--until": "{{ params.until }}",
        },
        nothing_status=3,
        task_id="score",
        pool="heavy",
        outlets=[SCORES],
        execution_timeout=timedelta(hours=2),
    )
