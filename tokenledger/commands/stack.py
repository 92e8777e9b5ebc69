"""Where the stack is: the environment, else what `make up` wrote into the stack's folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(".local") / "stack"
_FILE: Final = "client.env"


def environment() -> Mapping[str, str]:
    """The `TOKENLEDGER_…` settings: those of the environment win over those of the local stack."""
    file = Path(os.environ.get("TOKENLEDGER_STACK_ROOT") or _FOLDER) / _FILE
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return os.environ
    return dict(line.split("=", 1) for line in lines if "=" in line) | dict(os.environ)
