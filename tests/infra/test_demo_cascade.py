"""The parts of the cascade's demo that compute something: who is right, how sure a bound is, what is asked again."""

import subprocess
import sys

import pytest

from infra.demo_asking import Question, questions_of, workload
from infra.demo_bill import upper_bound
from infra.local.place import REPO

SUM = Question(wordings=("What is 2 + 2?", "How much is 2 + 2?"), answer="4")
FORM = Question(wordings=("Give JSON.",), answer='{"a": 1, "b": 2}')


@pytest.mark.parametrize(("said", "held"), [("4", True), (" 4. ", True), ("5", False), ("four", False)])
def test_a_closed_answer_is_compared_to_the_letter(said: str, held: bool) -> None:  # noqa: FBT001
    assert SUM.accepts(said) is held


def test_an_answer_in_json_is_compared_by_value() -> None:
    assert FORM.accepts('{"b": 2,\n "a": 1}')
    assert not FORM.accepts('{"a": 1}')
    assert not FORM.accepts("{a: 1}")


def test_the_bound_is_clopper_and_pearsons() -> None:
    """With none wrong it has a closed form; 1 of 20 is in every table of exact limits (0.2161)."""
    assert upper_bound(0, 52) == pytest.approx(1 - 0.05 ** (1 / 52))
    assert upper_bound(1, 20) == pytest.approx(0.2161, abs=1e-4)
    assert (upper_bound(0, 0), upper_bound(3, 3)) == (1.0, 1.0)


def test_what_is_asked_again_was_asked_long_before_and_in_its_own_words() -> None:
    made = [Question(wordings=(f"{n} a", f"{n} b"), answer=str(n)) for n in range(400)]
    asks = workload(made, seed=3)
    first: dict[Question, int] = {}
    again = []
    for number, ask in enumerate(asks):
        if ask.question in first:
            again.append(number - first[ask.question])
        first.setdefault(ask.question, number)
    assert len(asks) == 400
    assert 60 < len(again) < 140
    assert min(again) > 20
    assert {ask.wording for ask in asks} == {0, 1}
    assert workload(made, seed=3) == asks


def test_the_simulators_labels_become_questions_with_their_wordings() -> None:
    command = [sys.executable, "-m", "serving.simulator", "--questions", "60", "--seed", "5"]
    printed = subprocess.run(command, cwd=REPO, capture_output=True, check=True).stdout
    found = questions_of(printed)
    assert len(found) == 60
    assert all(len(one.wordings) > 1 and one.accepts(one.answer) for one in found)
    assert any(one.wants_json for one in found)
