"""What the router reads of a prompt."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.router.features import BUCKETS, SHAPE, Features, Prompt, features

QUESTION = (
    "Ann has 12 apples and 2 pears. She gives half of them to 3 friends.\nHow many are left?\n"
    "A. 7\nB. 14\nC. 3.5\nD. none"
)


def shape(text: str) -> dict[str, float]:
    found = features(Prompt(text=text)).shape
    return dict(zip(SHAPE, np.round(np.expm1(found), 3).tolist(), strict=True))


def same(one: Features, other: Features) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)


def test_a_question_with_options_is_counted_as_a_person_would() -> None:
    found = shape(QUESTION)
    sizes = {"sentences": 3, "questions": 1, "options": 4, "options_numeric": 3, "lines": 5, "question_chars": 18}
    numbers = {"numbers": 6, "distinct_numbers": 6, "decimals": 1, "largest": 14}
    kinds = {"question_amounts": 1, "multipliers": 1, "totals": 1, "code": 0, "stem_asks": 1}
    wanted = sizes | numbers | kinds
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.slow
@given(st.text(max_size=300) | st.text(st.characters(), max_size=50))
@example("half of a pair: \ud800")
@example("9" * 500 + " ² ٣")
def test_any_text_has_features_that_are_finite(text: str) -> None:
    found = features(Prompt(text=text))
    assert len(found.shape) == len(SHAPE)
    assert np.isfinite(found.shape).all()
    assert (np.diff(found.buckets) > 0).all()
    assert ((found.buckets >= 0) & (found.buckets < BUCKETS)).all()


@given(st.text(alphabet="abc XYZ,.?\n12", max_size=100))
def test_case_and_blanks_make_no_difference(text: str) -> None:
    edited = "  " + text.upper().replace(" ", "   ").replace("\n", "\n\n") + "\t"
    assert same(features(Prompt(text=text.lower())), features(Prompt(text=edited)))


@pytest.mark.slow
def test_another_process_reads_the_same() -> None:
    """Python's own hash of a text differs from process to process."""
    program = (
        "import sys; from serving.router.features import *;print(features(Prompt(text=sys.argv[1])).buckets.tolist())"
    )
    told = subprocess.run([sys.executable, "-c", program, QUESTION], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(features(Prompt(text=QUESTION)).buckets.tolist())


def test_numbers_of_equal_length_are_one_word() -> None:
    seen = [set(features(Prompt(text=f"buy {number} eggs now")).buckets.tolist()) for number in ("12", "47", "1234")]
    words = [{bucket for bucket in one if bucket < BUCKETS // 2} for one in seen]
    assert words[0] == words[1]
    assert words[0] != words[2]


def test_of_a_very_long_prompt_both_ends_and_the_length_count() -> None:
    start, end = "first things " * 400, " last things" * 400
    short, long = start + "x" * 10_000 + end, start + "y" * 20_000 + end
    assert set(features(Prompt(text=short)).buckets) == set(features(Prompt(text=long)).buckets)
    assert shape(short)["chars"] < shape(long)["chars"]


def test_tools_turns_and_format_are_seen() -> None:
    plain, rich = Prompt(text="go"), Prompt(text="go", tools=3, turns=5, format="json_schema")
    differing = {
        name
        for name, one, other in zip(SHAPE, features(plain).shape, features(rich).shape, strict=True)
        if one != other
    }
    assert differing == {"tools", "turns", "format"}
