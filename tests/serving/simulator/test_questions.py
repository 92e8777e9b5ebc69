"""Closed questions: right by an independent sum in every wording, and the harder the fewer tiers get them right."""

import json
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from serving.router import pairs
from serving.simulator import answering, asking, labelled, questions
from serving.simulator.answering import Label
from serving.simulator.config import Tier
from serving.simulator.questions import Question

MADE = questions.questions(2_000, seed=5)
LABELS = {label.prompt: label for label in questions.labels(MADE)}
CHEAP = Tier(name="cheap", models=("m",), accuracy=0.98, accuracy_hardest=0.2)
OTHER = Tier(name="other", models=("m",), accuracy=0.98, accuracy_hardest=0.2)


def of_kind(kind: str) -> list[Question]:
    """All of a kind."""
    found = [one for one in MADE if one.kind == kind]
    assert len(found) > 100
    return found


def said(question: str, tier: Tier) -> str:
    """What the tier answers."""
    asked = {"model": "m", "messages": [{"role": "user", "content": question}]}
    [answer] = answering.answers(asking.read_chat(json.dumps(asked).encode()), tier, labels=LABELS)
    return answer.text


def test_a_sum_is_what_pythons_own_parser_makes_of_it() -> None:
    for one in of_kind("sum"):
        told = re.search(r"\d[\d +*-]*\d|\d", one.prompt)
        assert told is not None
        assert str(eval(told.group())) == one.answer  # noqa: S307  (digits and signs, checked by the pattern)


def test_yes_and_no_follow_the_remainder() -> None:
    for one in of_kind("divides"):
        number, divisor = map(int, re.findall(r"\d+", one.prompt))
        assert one.answer == ("yes" if Fraction(number, divisor).denominator == 1 else "no")


def test_a_letter_names_the_word_at_that_place_of_the_alphabet() -> None:
    for one in of_kind("choice"):
        options = dict(re.findall(r"^([A-D])\. (\w+)$", one.prompt, re.MULTILINE))
        place = next(at for at, told in enumerate(("first", "second", "third", "last")) if told in one.prompt)
        assert options[one.answer] == sorted(options.values())[place]


def test_a_conversion_multiplies() -> None:
    seconds = {"metres": 1, "kilometres": 1_000, "minutes": 60, "hours": 3_600, "seconds": 1, "days": 86_400}
    seconds |= {"weeks": 604_800, "grams": 1, "kilograms": 1_000}
    for one in of_kind("convert"):
        small = re.findall(r"How many (\w+)", one.prompt)[0]
        told = sum(int(count) * seconds[unit] for count, unit in re.findall(r"(\d+) (\w+)", one.prompt))
        assert one.answer == str(Fraction(told, seconds[small]))


def test_an_extraction_holds_what_the_note_says_of_that_person() -> None:
    for one in of_kind("extract"):
        asked = json.loads(one.answer)
        assert f"{asked['name']} from {asked['city']} paid {asked['euros']} euros" in one.prompt
        assert f"{asked['name']}'s payment" in one.prompt
        assert one.format == "json_object"


def test_no_wrong_answer_is_right_and_no_two_questions_are_alike() -> None:
    assert all(one.wrong for one in MADE)
    assert [one for one in MADE if any(questions.agrees(wrong, one) for wrong in one.wrong)] == []
    assert max(Counter(wording for one in MADE for wording in one.wordings).values()) == 1


def test_the_same_seed_makes_the_same_questions_and_another_seed_others() -> None:
    assert questions.questions(50, seed=5) == MADE[:50]
    assert {one.prompt for one in questions.questions(50, seed=6)}.isdisjoint({one.prompt for one in MADE[:50]})


def test_every_wording_gets_the_same_answer_from_the_same_tier() -> None:
    for one in MADE[:300]:
        assert len({said(wording, CHEAP) for wording in one.wordings}) == 1


def test_a_tier_is_nearly_always_right_on_easy_and_seldom_on_hard_questions() -> None:
    ranked = sorted(MADE, key=lambda one: one.difficulty)
    easy, hard = ranked[:400], ranked[-400:]
    shares = [sum(questions.agrees(said(one.prompt, CHEAP), one) for one in part) / len(part) for part in (easy, hard)]
    assert shares[0] > 0.93
    assert shares[1] < 0.45


def test_the_accuracies_of_a_tier_hold_for_the_easiest_and_the_hardest_prompts() -> None:
    for difficulty, stated in ((0.0, 0.98), (1.0, 0.2)):
        labels = [Label(f"{difficulty} {n}", "yes", difficulty=difficulty) for n in range(2_000)]
        right = sum(answering.is_right(label.prompt, CHEAP, label=label) for label in labels)
        assert right / len(labels) == pytest.approx(stated, abs=0.04)


def test_two_tiers_that_are_wrong_mostly_differ_unless_there_is_only_one_way_to_be_wrong() -> None:
    both = [one for one in MADE if not any(questions.agrees(said(one.prompt, tier), one) for tier in (CHEAP, OTHER))]
    same = {kind: [said(one.prompt, CHEAP) == said(one.prompt, OTHER) for one in both if one.kind == kind]
            for kind in ("sum", "choice", "divides")}  # fmt: skip
    assert sum(same["sum"]) / len(same["sum"]) < 0.35
    assert sum(same["choice"]) / len(same["choice"]) < 0.5
    assert all(same["divides"])


def test_an_answer_in_json_is_compared_as_json() -> None:
    one = of_kind("extract")[0]
    assert questions.agrees(json.dumps(json.loads(one.answer), indent=2, sort_keys=True), one)
    assert not questions.agrees("no JSON", one)


def test_labelled_pairs_of_a_file_decide_who_is_right(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text('prompt,a,b\n"Pick one.\nA. x\nB. y\nC. z\nD. u",False,True\nHow many?,1,0.2\n', encoding="utf-8")
    first, second = labelled.read(file, ["cheap=a", "strong=b"])
    assert (first.right, second.right) == ({"cheap": False, "strong": True}, {"cheap": True, "strong": False})
    assert first.answer in "ABCD"
    assert second.answer.isdecimal()
    strong = Tier(name="strong", models=("m",))
    assert [answering.is_right(label.prompt, strong, label=label) for label in (first, second)] == [True, False]


def test_a_label_without_difficulty_is_answered_as_before() -> None:
    label = Label("What is 2 + 2?", "4")
    assert answering.is_right(label.prompt, CHEAP, label=label) == answering.is_right(label.prompt, CHEAP)


def test_graded_questions_are_pairs_that_the_router_learns_from(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    with file.open("w", encoding="utf-8") as out:
        labelled.write_pairs(out, MADE[:200], tiers=(CHEAP, OTHER), named=["small=cheap", "large=other"])
    found = pairs.read([file], pairs.Columns(tiers={"small": "small", "large": "large"}, group="group"))
    assert [one.prompt.text for one in found] == [one.prompt for one in MADE[:200]]
    assert [one.qualities[0] for one in found] == [
        float(questions.agrees(said(one.prompt, CHEAP), one)) for one in MADE[:200]
    ]
    with pytest.raises(ValueError, match="tiers are: cheap, other"), file.open("w", encoding="utf-8") as out:
        labelled.write_pairs(out, MADE[:2], tiers=(CHEAP, OTHER), named=["small=nobody"])
