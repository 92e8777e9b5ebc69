"""Trains a candidate of the router on pairs from the lake and judges it on golden pairs beside the one that serves.

Starts when drift is confirmed. The pairs are a dataset of kind `router_pairs`, so a candidate can be traced to its
rows. It is registered, and promotes nothing: somebody reads the report in the log of `train` and types
`tokenledger retrain promote`. Skipped when there are no pairs; `train` is skipped for a candidate that may not serve.
"""

from datetime import timedelta

from airflow.sdk import Param

from dags.assets import DRIFT_CONFIRMED, ROUTER_CANDIDATE
from dags.building import built
from dags.running import described, moment, name, tokenledger

with described(
    "retrain_router",
    __doc__,
    schedule=[DRIFT_CONFIRMED],
    tags=["router"],
    params={
        "recipe": name("router-pairs", "Recipe of the pairs"),
        "golden": name("router-golden", "Dataset to judge on"),
        "since": moment("Calls from then on (default: all)"),
        "until": moment("Calls before then (default: all)"),
        "tiers": Param(
            ["small", "large"],
            type="array",
            items={"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,39}$"},
            minItems=2,
            maxItems=4,
            title="Tiers as the recipe names them, the strongest last",
        ),
    },
):
    pairs = built(task_id="pairs")
    train = tokenledger(
        "retrain",
        "run",
        *(f"{{{{ '--tier=' ~ params.tiers[{n}] if params.tiers | length > {n} else '' }}}}" for n in range(4)),
        options={
            "--pairs": "{{ ti.xcom_pull(task_ids='pairs') }}",
            "--golden": "{{ params.golden }}",
            "--datasets": "$TOKENLEDGER_DATASETS",
            "--models": "$TOKENLEDGER_MODELS/router",
        },
        nothing_status=3,
        task_id="train",
        pool="heavy",
        outlets=[ROUTER_CANDIDATE],
        execution_timeout=timedelta(hours=1),
    )
    pairs >> train
