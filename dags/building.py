"""The two tasks by which a dataset comes to be: built, then hashed again from disk."""

from datetime import timedelta

from airflow.sdk import Asset

from dags.running import Command, tokenledger

_RECIPE = "$TOKENLEDGER_RECIPES/{{ params.recipe }}.toml"
NOTHING_STATUS = 3
"""How `datasets build` ends when no row is left."""


def built(*, task_id: str) -> Command:
    """The task that builds the version a recipe gives; its result is the version's id."""
    return tokenledger(
        "datasets",
        "build",
        _RECIPE,
        options={
            "--lake": "$TOKENLEDGER_LAKE",
            "--datasets": "$TOKENLEDGER_DATASETS",
            "--scores": "$TOKENLEDGER_SCORES",
            "--since": "{{ params.since }}",
            "--until": "{{ params.until }}",
        },
        nothing_status=NOTHING_STATUS,
        needs=_RECIPE,
        task_id=task_id,
        pool="lake",
        execution_timeout=timedelta(hours=2),
    )


def build_and_verify(*, makes: Asset) -> None:
    """The tasks, in their order; the version's id travels between them, its rows do not."""
    verify = tokenledger(
        "datasets",
        "verify",
        "{{ ti.xcom_pull(task_ids='build') }}",
        options={"--datasets": "$TOKENLEDGER_DATASETS"},
        task_id="verify",
        pool="lake",
        outlets=[makes],
        execution_timeout=timedelta(minutes=30),
    )
    built(task_id="build") >> verify
