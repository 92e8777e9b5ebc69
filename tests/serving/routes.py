"""A cascade for tests: tiers behind scripted upstreams, a policy, a model that tells easy words from hard ones."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from serving.router.features import features
from serving.router.pairs import qualities
from serving.router.training import train
from serving.router.versions import promote, save
from tests.serving.router.made import PLAN, pairs

POLICY = """
[tiers.small]
provider = "vllm"
model = "m"
input_usd_pico_per_token = 100_000
output_usd_pico_per_token = 400_000

[tiers.large]
provider = "vllm"
model = "m"
input_usd_pico_per_token = 2_500_000
output_usd_pico_per_token = 10_000_000

[routes.chat]
tiers = ["small", "large"]
without_features = "prompt"
explore = 0.0
quality_floor = 0.8
familiarity = 0.0
"""

EASY = "Tell me the capital river garden window music letter bridge, case 3?"
HARD = "Tell me the integral river garden window music letter bridge, case 3?"


def files(folder: Path, *, policy: str = POLICY, model: bool = True) -> str:
    """The router's files in a folder, and the section of the configuration that names them."""
    (folder / "router.toml").write_text(policy)
    models = folder / "models"
    models.mkdir(exist_ok=True)
    if model:
        made = _trained()
        save(models, made, {})
        promote(models, made.version)
    return f'[router]\npolicy_file = "{folder / "router.toml"}"\nmodels_dir = "{models}"\n'


@cache
def _trained() -> Any:
    found = pairs(400, seed=1, signal=0.9)
    return train(
        [features(one.prompt) for one in found], np.array(qualities(found)), tiers=("small", "large"), plan=PLAN
    )


def config(section: str, cascade: str = 'mode = "stream-now"', *, more: str = "", **upstreams: int) -> str:
    """A route `m`; upstreams named `small…`, `large…` are of these tiers."""
    tables = "".join(
        f'[upstreams.{name}]\nprovider = "vllm"\ntier = "{name.split("_", maxsplit=1)[0]}"\n'
        f'replicas = [{{ url = "http://127.0.0.1:{port}/v1" }}]\n'
        for name, port in upstreams.items()
    )
    names = ", ".join(f'"{name}"' for name in upstreams)
    return (
        f'allowed_hosts = ["127.0.0.1"]\n{section}{tables}[routes.m]\nupstreams = [{names}]\n'
        f'apis = ["chat", "embeddings"]\n[routes.m.cascade]\npolicy = "chat"\n{cascade}\n{more}'
    )


def ask(text: str, **more: Any) -> dict[str, Any]:
    """A request."""
    return {"model": "m", "messages": [{"role": "user", "content": text}]} | more
