"""Where what is made of the lake lies: the environment, else the stack's folder, as `make up` and Airflow have it."""

import os
from pathlib import Path
from typing import Final

from tokenledger.commands.stack import environment

_STACK: Final = Path(".local") / "stack"
_BELOW: Final = {"lake": Path("data") / "lake"}


def place(name: str) -> Path:
    """The folder of `lake`, `datasets`, `scores`, `drift` or `models`: `$TOKENLEDGER_DATASETS` and so on."""
    root = Path(os.environ.get("TOKENLEDGER_STACK_ROOT") or _STACK)
    return Path(environment().get(f"TOKENLEDGER_{name.upper()}") or root / _BELOW.get(name, Path(name)))
