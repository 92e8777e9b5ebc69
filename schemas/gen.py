"""Writes the published contracts from `tokenledger.records`; `--check` only says whether they are fresh.

uv run python -m schemas.gen             write json/, proto/, FIELDS.md, asyncapi.yaml and docs/features.md
uv run python -m schemas.gen --check     status 1 where one of them is stale
uv run python -m schemas.gen --publish   keep a pinned copy of the schemas under the version in pyproject.toml
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from schemas.asyncapi import asyncapi
from schemas.compat import publish
from schemas.features import feature_page
from schemas.glossary import glossary
from schemas.headers import raw_headers_schema, rejected_headers_schema
from schemas.json_schema import DIALECT, record_schema
from schemas.proto import router_proto
from tokenledger.normalise.envelope import Envelope
from tokenledger.records import Call, PricedCall
from tokenledger.records.features import FeatureWindow

HERE: Final = Path(__file__).parent
COMPAT: Final = HERE / "compat" / "v1"
COMMAND: Final = "uv run python -m schemas.gen"
_NOTE: Final = f"Generated from tokenledger/records by `{COMMAND}`; do not edit."


def schema_files() -> dict[str, str]:
    """File name → text of every JSON Schema."""
    schemas = {
        "priced_call": record_schema(PricedCall),
        "call": record_schema(Call),
        "envelope": record_schema(Envelope),
        "feature_window": record_schema(FeatureWindow),
        "raw_headers": {"$schema": DIALECT, **raw_headers_schema()},
        "rejected_headers": {"$schema": DIALECT, **rejected_headers_schema()},
    }
    return {f"{name}.schema.json": _json(schema) for name, schema in schemas.items()}


def generated_files() -> dict[str, str]:
    """Path below schemas/ → text of every generated file."""
    return {
        **{f"json/{name}": text for name, text in schema_files().items()},
        "FIELDS.md": f"<!-- {_NOTE} -->\n{glossary()}",
        "asyncapi.yaml": f"# {_NOTE}\n{asyncapi()}",
        "proto/router.proto": f"// {_NOTE}\n{router_proto()}",
        "../docs/features.md": f"<!-- {_NOTE} -->\n{feature_page()}",
    }


def stale_files(folder: Path = HERE) -> list[str]:
    """Generated files that are missing, differ from what would be written, or should not be there."""
    wanted = generated_files()
    there = {f"json/{file.name}" for file in (folder / "json").glob("*")}
    stale = [path for path, text in wanted.items() if not _holds(folder / path, text)]
    return sorted({*stale, *(there - wanted.keys())})


def main(arguments: list[str] | None = None) -> int:
    """0 if all is fresh or was written, 1 if `--check` found a stale file."""
    parser = argparse.ArgumentParser(prog="schemas.gen", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a file is stale")
    parser.add_argument("--publish", action="store_true", help="keep a pinned copy of the schemas")
    options = parser.parse_args(arguments)
    if options.check:
        return _report(stale_files())
    for path, text in generated_files().items():
        (HERE / path).parent.mkdir(exist_ok=True)
        (HERE / path).write_text(text)
    if options.publish:
        publish(schema_files(), COMPAT / version("tokenledger"))
    return 0


def _report(stale: list[str]) -> int:
    for path in stale:
        sys.stderr.write(f"schemas/{path} is stale; make it fresh with: {COMMAND}\n")
    return 1 if stale else 0


def _holds(file: Path, text: str) -> bool:
    return file.exists() and file.read_text() == text


def _json(schema: dict[str, Any]) -> str:
    return json.dumps({"$comment": _NOTE, **schema}, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
