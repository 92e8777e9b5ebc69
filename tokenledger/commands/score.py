"""Scores of captured answers: deterministic checks on every one, a judge's grade where one is asked.

  tokenledger score run
  tokenledger score run --rules checks.toml --since 2026-11-20
  tokenledger score run --judge http://127.0.0.1:4000/v1 --judge-model strong --judge-most 500

What was scored is not scored again until the rules or the rubric change. Shares are in coverage.json. docs/datasets.md.

exit status: 0 done; 1 some captured answers have no checks, or the judge gave up; 2 it could not be done;
3 nothing was captured. With --json the last line is one JSON object; without, the version of the checks.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from dags import io
from dags.core.checks import Rules, rules
from dags.core.rubric import USUAL, rubric
from dags.edges import scoring
from dags.edges.judging import Judge
from dags.edges.scoring import Asked, Scored
from tokenledger.commands.places import place

_DONE: Final = 0
_NOT_ALL: Final = 1
_NOTHING: Final = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger score` takes."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser("run", help="score what has no score").add_argument
    add("--lake", type=Path, default=place("lake"), metavar="DIR", help="default: lake of the stack")
    add("--scores", type=Path, default=place("scores"), metavar="DIR", help="default: scores of the stack")
    add("--since", metavar="TIME", help="calls from then on: 2026-01-31 or 2026-01-31T16:00:00Z")
    add("--until", metavar="TIME", help="calls before then")
    add("--rules", type=Path, metavar="FILE.toml", help="what answers must be, by feature")
    add("--judge", metavar="URL", help="base address of an OpenAI-compatible endpoint")
    add("--judge-model", metavar="MODEL", help="model to ask there")
    add("--judge-key-from", metavar="VARIABLE", help="environment variable that holds its key")
    add("--judge-most", type=int, metavar="N", help="ask about at most N answers")
    add("--rubric", type=Path, metavar="FILE.toml", help="what the judge is to look at")
    add("--json", action="store_true", help="end with one line of JSON")


def run(options: argparse.Namespace) -> int:
    """Score."""
    asked = Asked(
        lake=options.lake,
        scores=options.scores,
        window=io.Window(
            since_us=io.instant_us(options.since) if options.since else None,
            until_us=io.instant_us(options.until) if options.until else None,
        ),
        rules=rules(options.rules.read_text(encoding="utf-8"), where=str(options.rules)) if options.rules else Rules(),
        judge=_judge(options),
        most=options.judge_most,
    )
    scored = scoring.score(asked)
    _tell(scored)
    print(msgspec.json.encode(scored).decode() if options.json else scored.checks_version)
    if not scored.captured:
        return _NOTHING
    return _NOT_ALL if scored.checked < scored.captured or scored.unjudged else _DONE


def _judge(options: argparse.Namespace) -> Judge | None:
    if options.judge is None:
        return None
    if not options.judge_model:
        raise ValueError("--judge needs --judge-model MODEL")
    key = os.environ.get(options.judge_key_from) if options.judge_key_from else None
    if options.judge_key_from and not key:
        raise ValueError(f"--judge-key-from: the environment has no {options.judge_key_from}")
    own = rubric(options.rubric.read_text(encoding="utf-8"), where=str(options.rubric)) if options.rubric else USUAL
    return Judge(url=options.judge, model=options.judge_model, rubric=own, key=key)


def _tell(scored: Scored) -> None:
    captured = max(scored.captured, 1)
    print(f"{scored.captured:>12,}  captured")
    print(f"{scored.checked:>12,}  checked ({100 * scored.checked / captured:.1f} %), {scored.new:,} of them now")
    for name, count in sorted(scored.failed.items()):
        print(f"{count:>12,}  failed {name}")
    print(f"{scored.judged:>12,}  judged ({100 * scored.judged / captured:.1f} %), {scored.judged_new:,} of them now")
    for why, count in scored.unjudged.items():
        print(f"{count:>12,}  without a verdict: {why}", file=sys.stderr)
