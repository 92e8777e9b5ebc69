"""`tokenledger router` from a CSV file to a version that serves."""

import csv
import json
from pathlib import Path

import pytest

from serving.router.pairs import Columns, left_out, read
from serving.router.versions import promoted, versions
from tests.serving.router.made import pairs
from tokenledger.cli import main

COLUMNS = Columns(tiers={"small": "cheap ok", "large": "dear ok"}, prompt="question")
OPTIONS = [
    "--tier",
    "small=cheap ok",
    "--tier",
    "large=dear ok",
    "--prompt",
    "question",
    "--draws",
    "50",
    "--folds",
    "2",
]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """200 pairs in one file, true and false in one column, numbers in the other."""
    path = tmp_path / "exam.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "cheap ok", "dear ok"])
        for number, pair in enumerate(pairs(200, seed=20, signal=0.9)):
            writer.writerow([number, pair.prompt.text, bool(pair.qualities[0]), pair.qualities[1]])
    return path


@pytest.mark.slow
def test_train_evaluate_promote_and_list(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / "models"
    assert main(["router", "train", str(labelled), *OPTIONS, "--models", str(models)]) == 0
    (version,) = versions(models)
    assert promoted(models) is None
    assert main(["router", "promote", version, "--models", str(models)]) == 0
    assert promoted(models) == version
    told = tmp_path / "told.json"
    judged = ["router", "evaluate", str(labelled), *OPTIONS, "--models", str(models), "--version", version]
    assert main([*judged, "--json", str(told)]) == 0
    assert [line["name"] for line in json.loads(told.read_text())["lines"]] == ["router", "random", "longest prompt"]
    capsys.readouterr()
    assert main(["router", "list", "--models", str(models)]) == 0
    listed = capsys.readouterr().out
    assert version in listed
    assert "small < large" in listed
    assert " yes " in listed


@pytest.mark.slow
def test_evaluate_prints_the_router_beside_its_baselines(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["router", "evaluate", str(labelled), *OPTIONS]) == 0
    printed = capsys.readouterr().out
    for wanted in ("200 pairs", "router", "random", "longest prompt", "quality floor", "calibration error"):
        assert wanted in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "{file}", "--tier", "small"], "write NAME=COLUMN"),
        (["evaluate", "{file}", "--tier", "small=cheap ok"], "at least two tiers"),
        (["evaluate", "{file}", "--tier", "a=cheap", "--tier", "b=dear ok"], "no column 'cheap'; columns are: id"),
        (["evaluate", "{file}", *OPTIONS[:4]], "no column 'prompt'"),
        (["evaluate", "{file}x", *OPTIONS], "No such file"),
        (["promote", "beef"], "no version 'beef'"),
    ],
)
def test_what_cannot_be_used_is_said(
    labelled: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["router", *[argument.format(file=labelled) for argument in arguments]]) == 2
    assert said in capsys.readouterr().err


def test_a_prompt_that_comes_twice_counts_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("question,cheap ok,dear ok\nsame?,true,1\n" + f"{name}?,0,0.5\n")
    found = read([tmp_path], COLUMNS)
    assert [(pair.prompt.text, pair.qualities, pair.group) for pair in found] == [
        ("same?", (1.0, 1.0), "one"),
        ("one?", (0.0, 0.5), "one"),
        ("two?", (0.0, 0.5), "two"),
    ]


@pytest.mark.parametrize("value", ["maybe", "", "1.5", "-1", "nan"])
def test_a_quality_that_is_none_is_refused_with_its_place(tmp_path: Path, value: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"question,cheap ok,dear ok\nfine?,1,1\nbad?,{value},1\n")
    with pytest.raises(ValueError, match=r"bad.csv:3: cheap ok is .*a number from 0 to 1, or true or false"):
        read([path], COLUMNS)


def test_tools_turns_and_format_are_read_where_a_file_has_them(tmp_path: Path) -> None:
    path = tmp_path / "rich.csv"
    path.write_text("question,cheap ok,dear ok,tools,turns,format\nq?,1,1,2,7,json_object\n")
    (pair,) = read([path], COLUMNS)
    assert (pair.prompt.tools, pair.prompt.turns, pair.prompt.format) == (2, 7, "json_object")


def test_prompts_to_leave_out_are_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"prompt": "a"}\n\n{"eval_prompt": "b", "train_prompt": "c"}\n')
    assert left_out(path) == {"a", "b"}
