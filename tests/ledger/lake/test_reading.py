"""What is written into the lake is what is read from it."""

import json
from pathlib import Path

import msgspec

from ledger.lake import reading
from tokenledger.records.texts import CapturedText

DAY_US = 86_400_000_000
NOON_US = 1_790_000_000_000_000


def text(n: int, *, tenant: str = "acme", at_us: int = NOON_US, said: str = "hello") -> CapturedText:
    return CapturedText(
        tenant_id=tenant,
        event_key=f"app#{n}",
        started_at_us=at_us,
        attempt_no=1,
        conversation_id="c1",
        provider="openai",
        model="gpt-4o-mini",
        messages=json.dumps([{"role": "user", "content": said}]),
        answer=json.dumps({"role": "assistant", "content": "hi"}),
        redactions={"EMAIL_ADDRESS": n} if n else {},
        redaction_version="1",
    )


def test_a_text_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = [text(0), text(1), msgspec.structs.replace(text(2), answer=None, attempt_no=None)]
    reading.write_texts(tmp_path, written)
    assert list(reading.texts(tmp_path)) == written


def test_texts_are_chosen_by_tenant_and_time(tmp_path: Path) -> None:
    written = [text(0), text(1, tenant="globex"), text(2, at_us=NOON_US + DAY_US), text(3, at_us=NOON_US + 5)]
    reading.write_texts(tmp_path, written)
    chosen = reading.texts(tmp_path, tenants=["acme"], since_us=NOON_US + 1, until_us=NOON_US + DAY_US)
    assert [one.event_key for one in chosen] == ["app#3"]


def test_a_lake_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert list(reading.texts(tmp_path / "none")) == []


def test_writing_the_same_again_leaves_the_same_bytes(tmp_path: Path) -> None:
    reading.write_texts(tmp_path, [text(0), text(1)])
    [file] = tmp_path.rglob("*.parquet")
    before = file.read_bytes()
    reading.write_texts(tmp_path, [text(0), text(1)])
    assert [file.read_bytes() for file in tmp_path.rglob("*.parquet")] == [before]
