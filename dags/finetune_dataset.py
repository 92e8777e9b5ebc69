"""Makes a fine-tuning dataset of captured calls: the version a recipe gives over the lake as it is.

The recipe says who agreed and what is good enough; it is `NAME.toml` in the stack's folder `recipes`. The same recipe
over the same calls is the same version, byte for byte, so a run that is repeated makes nothing new. Starts when a
day's answers were scored, so that filters on checks and grades have something to go by. Skipped while there is no such
recipe, and when no row is left to make a dataset of. By hand: `tokenledger datasets build`.
"""

from dags.assets import FINETUNE_DATASET, SCORES
from dags.building import build_and_verify
from dags.running import described, moment, name

with described(
    "finetune_dataset",
    __doc__,
    schedule=[SCORES],
    tags=["datasets"],
    params={
        "recipe": name("finetune", "Recipe"),
        "since": moment("Calls from then on (default: all)"),
        "until": moment("Calls before then (default: all)"),
    },
):
    build_and_verify(makes=FINETUNE_DATASET)
