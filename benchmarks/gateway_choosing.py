"""What choosing and the exact cache cost the gateway beside passing on: CPU a request, one worker on one core, one run.

Passed on as it comes; judged by the trained router first, with the quality floor it needs so that the one tier there is
serves; the same with the exact cache before it, which knows the answer (the request is always the same).
Run it: `uv run python -m benchmarks.gateway_choosing`. Needs `wrk`, as `benchmarks.gateway` does.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.decide import POLICY, train_on_made_up_questions
from benchmarks.gateway import ROUTE, Start, gateway, measured, surroundings
from infra.local.stack import Stack

_ROUTER = """
[router]
policy_file = "{folder}/router.toml"
models_dir = "{folder}/models"
"""
_CASCADE = """
[routes.gpt-4o-mini.cascade]
policy = "chat"
mode = "stream-now"
"""
_CACHE = """
[cache]
folder = "{folder}/cache"
[routes.gpt-4o-mini.cache]
exact = true
"""


def _gateways(stack: Stack, folder: Path) -> Iterator[Start]:
    router = _ROUTER.format(folder=folder)
    cache = _CACHE.format(folder=folder)
    yield partial(gateway, stack, folder, name="passed on", route=ROUTE)
    yield partial(gateway, stack, folder, name="routed", route=router + ROUTE + _CASCADE)
    yield partial(gateway, stack, folder, name="routed, exact cache", route=router + ROUTE + _CASCADE + cache)


def main() -> int:
    """Exit status 0 once all were measured."""
    with surroundings() as (stack, folder):
        (folder / "router.toml").write_text(POLICY.replace('["small", "large"]', '["small"]'), encoding="utf-8")
        train_on_made_up_questions(folder / "models")
        for start in _gateways(stack, folder):
            measured(start)
    return 0


if __name__ == "__main__":
    sys.exit(main())
