"""Trains a candidate of the router on pairs from the lake and judges it beside the baselines. It promotes nothing.

Starts when drift is confirmed. The pairs are a dataset of kind `router_pairs`, so a candidate can be traced to its
rows. Somebody reads the report in the log of `train` and types `tokenledger router promote`.
"""

from datetime import timedelta

from dags.assets import DRIFT_CONFIRMED, ROUTER_CANDIDATE
from dags.building import built
from dags.running import described, moment, name, tokenledger

with described(
    "retrain_router",
    __doc__,
    schedule=[DRIFT_CONFIRMED],
    tags=["router"],
    params={
        "recipe": name("router-pairs", "Recipe"),
        "since": moment("Calls from then on (default: all)"),
        "until": moment("Calls before then (default: all)"),
        "cheap": name("small", "Cheap tier, as the recipe names it"),
        "strong": name("large", "Strong tier, as the recipe names it"),
    },
):
    pairs = built(task_id="pairs")
    train = tokenledger(
        "router",
        "train",
        "$TOKENLEDGER_DATASETS/{{ ti.xcom_pull(task_ids='pairs') | replace('@', '/') }}",
        "--tier={{ params.cheap }}={{ params.cheap }}",
        "--tier={{ params.strong }}={{ params.strong }}",
        options={"--models": "$TOKENLEDGER_MODELS/router"},
        task_id="train",
        pool="heavy",
        outlets=[ROUTER_CANDIDATE],
        execution_timeout=timedelta(hours=1),
    )
    pairs >> train
