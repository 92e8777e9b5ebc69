"""Draws an evaluation set from captured calls: stratified over feature, difficulty, time and kind of failure.

Recipes are as for `finetune_dataset`, of kind `eval`. What is drawn is a version like any other; it is frozen, and a
golden set grows only by somebody's review. Starts when a day's answers were scored: a check that failed is a stratum.
By hand: `tokenledger datasets build`.
"""

from dags.assets import EVAL_DATASET, SCORES
from dags.building import build_and_verify
from dags.running import described, moment, name

with described(
    "eval_dataset",
    __doc__,
    schedule=[SCORES],
    tags=["datasets"],
    params={
        "recipe": name("eval", "Recipe"),
        "since": moment("Calls from then on (default: all)"),
        "until": moment("Calls before then (default: all)"),
    },
):
    build_and_verify(makes=EVAL_DATASET)
