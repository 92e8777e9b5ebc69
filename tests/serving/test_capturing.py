"""Texts beside the outbox: whose, how much, and that a record with them is the same call as without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving.gateway import capturing
from serving.gateway.capturing import FILE_BYTES, Capturing, Kept, path_of, read
from serving.gateway.configuration import Capture
from serving.gateway.envelopes import raw_event
from serving.gateway.records import Outcome, TextsAt
from serving.gateway.replaying import replayed
from serving.gateway.replies import facts_of
from tests.serving.attempts import intent, outcome
from tests.serving.running import completion
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall
from tokenledger.texts import Conversation, read_conversation

ASKED = [{"role": "user", "content": "My name is Ann-Canary."}]
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
ANSWER = msgspec.json.encode(
    completion(choices=[{"index": 0, "finish_reason": "stop", "logprobs": {"content": [{"logprob": -1}]},
                         "message": {"role": "assistant", "content": "Good day, Ann-Canary."}}])
)  # fmt: skip
YES, NO = "[tenants.acme]\ncapture_texts = true\n", "[tenants.acme]\ncapture_texts = false\n"

Made = Callable[..., Capturing]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A capturing process whose tenants said so much."""

    def begun(consent: str = YES, **settings: int) -> Capturing:
        (tmp_path / "consent.toml").write_text(consent, encoding="utf-8")
        return Capturing(tmp_path, Capture(consent_file=str(tmp_path / "consent.toml"), **settings))

    return begun


def members(**fields: Any) -> dict[str, msgspec.Raw]:
    """A request as it is taken apart."""
    body = {"model": "gpt-4o-mini", "messages": ASKED, "user": "u-1", "metadata": {"secret": "x"}} | fields
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}


def priced(told: Outcome, folder: Path, *, with_texts: bool) -> tuple[PricedCall, Conversation | object]:
    """The call that the ledger sees, and the conversation that the lake sees."""
    texts = read(folder, told.texts) if with_texts and told.texts is not None else None
    raw = raw_event(intent(), told, epoch="e", texts=texts)
    found = process(raw, default_context())
    assert isinstance(found, PricedCall), found
    return found, read_conversation(raw, "chat")


@pytest.mark.parametrize("estimated", [False, True])
def test_a_record_with_texts_is_the_same_call_and_says_what_was_said(
    made: Made, tmp_path: Path, *, estimated: bool
) -> None:
    reply = msgspec.json.decode(ANSWER)
    if estimated:
        del reply["usage"]
    body = msgspec.json.encode(reply)
    facts = facts_of(body)
    assert facts is not None
    kept = Kept(made(), members(tools=TOOLS))
    kept.whole(body)
    told = outcome(reply=facts.encoded(), output_chunks=5 if estimated else 0, texts=kept.at)

    bare, nothing = priced(told, tmp_path, with_texts=False)
    full, said = priced(told, tmp_path, with_texts=True)

    assert full == bare
    assert isinstance(said, Conversation)
    assert not isinstance(nothing, Conversation)
    assert (said.messages, said.tools) == (ASKED, TOOLS)
    assert said.answer == {"role": "assistant", "content": "Good day, Ann-Canary."}


def test_a_stream_is_kept_in_one_piece_and_one_that_was_too_long_to_be_held_is_not(made: Made, tmp_path: Path) -> None:
    kept = Kept(made(), members())
    kept.streamed(replayed(ANSWER, usage_wanted=True))
    assert kept.at is not None
    texts = read(tmp_path, kept.at)
    assert texts is not None
    assert json.loads(bytes(texts.choices[0].message))["content"] == "Good day, Ann-Canary."

    longer = Kept(made(), members())
    longer.streamed(None)
    assert longer.at is None


def test_nothing_but_messages_tools_and_answers_is_laid_down(made: Made, tmp_path: Path) -> None:
    made().keep(members(), ANSWER)
    laid = path_of(tmp_path, 0).read_bytes()
    assert b"Ann-Canary" in laid
    for other in (b"secret", b"u-1", b"logprob", b"usage"):
        assert other not in laid


@pytest.mark.parametrize(
    "consent", ["", NO, "[tenants.other]\ncapture_texts = true\n", "[tenants.acme]\ncapture = 1\n", "["]
)
def test_nobody_is_captured_who_did_not_allow_it_or_while_the_file_is_wrong(made: Made, consent: str) -> None:
    assert "acme" not in made(consent).allowed


def test_consent_is_seen_when_it_comes_and_when_it_goes(made: Made, tmp_path: Path) -> None:
    capturing_ = made("")
    file = tmp_path / "consent.toml"
    for text, allowed in ((YES, {"acme"}), ("[", set()), (YES, {"acme"}), (NO + "# taken back\n", set())):
        file.write_text(text, encoding="utf-8")
        capturing_.look()
        assert capturing_.allowed == allowed
    file.unlink()
    capturing_.look()
    assert capturing_.allowed == set()


def test_what_is_too_long_is_not_kept(made: Made, tmp_path: Path) -> None:
    capturing_ = made(most_bytes=4_000)
    long = [{"role": "user", "content": "x" * 4_000}]
    assert capturing_.keep(members(messages=long), ANSWER) is None
    assert capturing_.keep(members(), ANSWER) is not None
    assert sum(path.stat().st_size for path in tmp_path.glob("*.texts")) < 4_000


def test_texts_take_no_more_of_the_disk_than_they_may_and_give_it_back_when_shipped(made: Made, tmp_path: Path) -> None:
    capturing_ = made(most_bytes=786_432, capacity_bytes=2 * FILE_BYTES)
    long = members(messages=[{"role": "user", "content": "x" * 700_000}])
    kept = [at for _ in range(20) if (at := capturing_.keep(long, ANSWER)) is not None]
    assert {at.file for at in kept} == {0, 1}
    assert sum(path.stat().st_size for path in tmp_path.glob("*.texts")) <= 2 * FILE_BYTES

    capturing.forget(tmp_path, before=1)
    again = capturing_.keep(long, ANSWER)
    assert again is not None
    assert again.file == 2
    assert read(tmp_path, kept[0]) is None
    assert read(tmp_path, again) is not None


def test_what_is_not_what_was_laid_down_is_left_out(made: Made, tmp_path: Path) -> None:
    at = made().keep(members(), ANSWER)
    assert at is not None
    for wrong in ({"at": at.at + 1}, {"size_bytes": at.size_bytes + 1}, {"crc": at.crc ^ 1}, {"file": 7}):
        assert read(tmp_path, TextsAt(**(msgspec.structs.asdict(at) | wrong))) is None


@pytest.mark.parametrize("reply", [b"", b"[]", b'{"choices": 3}', b'{"choices": [{"index": "x"}]}', b"\xff"])
def test_what_is_no_answer_is_not_kept(made: Made, reply: bytes) -> None:
    assert made().keep(members(), reply) is None


def test_a_disk_that_fails_costs_the_text_and_not_the_call(made: Made, tmp_path: Path) -> None:
    capturing_ = made()
    path_of(tmp_path, 0).mkdir()
    assert capturing_.keep(members(), ANSWER) is None
