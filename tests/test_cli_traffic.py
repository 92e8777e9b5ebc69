"""`tokenledger send` without a broker: what it would send, and its journal."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.readers.recordings import CHAT, SSE, cloud_event, lines, read_all, write
from tokenledger.commands.capture import Capture
from tokenledger.commands.journal import Journal, RunFacts, text_or_base64
from tokenledger.commands.traffic import Message, Plan, Template, template, traffic
from tokenledger.process import default_context, process
from tokenledger.readers.objects import Journalled
from tokenledger.records import PricedCall, RawEvent

NOW_US = 1_795_000_000_000_000
HOUR_US = 3600 * 1_000_000


def templates(tmp_path: Path, count: int = 20) -> list[Template]:
    rows: list[Any] = [
        cloud_event(
            {"provider": "openai", "response": CHAT | {"id": f"chatcmpl-{at}"}, "started_at_us": 1_760_000_000_000_000,
             "first_token_at_us": 1_760_000_000_200_000, "ended_at_us": 1_760_000_001_000_000,
             "token_times_us": [1_760_000_000_300_000], "feature": "recorded"},
            f"e{at}",
        )
        for at in range(count - 1)
    ]  # fmt: skip
    rows.append(cloud_event({"provider": "openai", "stream_text": SSE}, "stream"))
    found, _ = read_all(write(tmp_path, "a.jsonl", lines(*rows)), redact=True)
    return [template(one) for one in found]


def priced(message: Message) -> PricedCall:
    raw = RawEvent(value=message.value, headers=message.headers, topic="llm.raw.v1", append_at_us=NOW_US)
    result = process(raw, default_context())
    assert isinstance(result, PricedCall), result
    return result


def test_without_a_plan_the_recorded_bytes_are_sent(tmp_path: Path) -> None:
    found, _ = read_all(write(tmp_path, "a.jsonl", lines(cloud_event({"provider": "openai", "response": CHAT}))))

    [message] = traffic([template(one) for one in found], Plan())

    assert (message.value, message.headers, message.key) == (found[0].raw.value, found[0].raw.headers, b"acme/e1")


def test_the_same_seed_gives_the_same_traffic_and_another_one_does_not(tmp_path: Path) -> None:
    recorded = templates(tmp_path)

    def sent(seed: int) -> list[Message]:
        plan = Plan(tenants=5, features=3, repeat=4, duplicates=0.1, late=0.05, now_us=NOW_US, seed=seed)
        return list(traffic(recorded, plan))

    assert sent(1) == sent(1)
    assert sent(1) != sent(2)


def test_every_repeat_is_a_call_of_its_own_at_the_same_cost(tmp_path: Path) -> None:
    messages = list(traffic(templates(tmp_path), Plan(repeat=3)))

    calls = [priced(message) for message in messages]

    assert len({call.call.event_key for call in calls}) == 60
    assert len({call.call.response_key for call in calls}) == 60
    assert {call.cost_usd_pico for call in calls} == {270_000_000}


def test_duplicates_are_the_same_records_again(tmp_path: Path) -> None:
    messages = list(traffic(templates(tmp_path), Plan(repeat=50, duplicates=0.1)))

    again = len(messages) - 1000
    assert [message.n for message in messages] == list(range(len(messages)))
    assert 60 <= again <= 140
    assert Counter(Counter((m.key, m.value) for m in messages).values()) == {1: 1000 - again, 2: again}


def test_records_are_numbered_within_their_source_and_repeated_ones_alike(tmp_path: Path) -> None:
    messages = list(traffic(templates(tmp_path), Plan(repeat=20, duplicates=0.2, epoch="send-1")))
    by_source: dict[bytes, dict[bytes, bytes]] = {}
    for message in messages:
        numbers = by_source.setdefault(message.headers["ce_source"], {})
        assert (
            numbers.setdefault(message.headers["ce_id"], message.headers["ce_sequence"])
            == message.headers["ce_sequence"]
        )
    assert len(messages) > sum(map(len, by_source.values()))
    for numbers in by_source.values():
        assert sorted(map(int, numbers.values())) == list(range(1, len(numbers) + 1))
    assert {message.headers["ce_epoch"] for message in messages} == {b"send-1"}


def test_calls_are_shared_among_tenants_the_first_with_most(tmp_path: Path) -> None:
    messages = traffic(templates(tmp_path), Plan(tenants=4, features=2, repeat=50))
    calls = [priced(message).call for message in messages]

    tenants = Counter(call.tenant_id for call in calls)

    assert [name for name, _ in tenants.most_common()] == ["tenant-01", "tenant-02", "tenant-03", "tenant-04"]
    assert {call.feature for call in calls} == {"chat", "search"}


def test_records_of_one_call_stay_with_one_tenant(tmp_path: Path) -> None:
    polls = [cloud_event({"provider": "openai", "response": CHAT}, f"poll-{at}") for at in range(30)]
    found, _ = read_all(write(tmp_path, "a.jsonl", lines(*polls)))

    messages = traffic([template(one) for one in found], Plan(tenants=5, repeat=2))

    assert [len(set(part)) for part in _halves([message.headers["ce_tenantid"] for message in messages])] == [1, 1]


def _halves(items: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    return items[: len(items) // 2], items[len(items) // 2 :]


def test_event_times_move_to_now_and_durations_stay(tmp_path: Path) -> None:
    plan = Plan(now_us=NOW_US, spread_us=6 * HOUR_US, disorder_us=300_000_000, features=1, repeat=10)

    calls = [priced(message).call for message in traffic(templates(tmp_path), plan)]

    starts = [call.started_at_us for call in calls]
    assert min(starts) >= NOW_US - 6 * HOUR_US - 300_000_000
    assert max(starts) <= NOW_US
    assert starts != sorted(starts)
    assert {call.event_time_source for call in calls} == {"started_at"}
    measured = [call for call in calls if call.ended_at_us]
    assert {(call.ended_at_us or 0) - call.started_at_us for call in measured} == {1_000_000}
    assert {(call.first_token_at_us or 0) - call.started_at_us for call in measured} == {200_000}
    assert {call.token_times_us[0] - call.started_at_us for call in measured} == {300_000}


def test_late_records_are_one_to_six_hours_older(tmp_path: Path) -> None:
    plan = Plan(now_us=NOW_US, late=0.2, repeat=50)

    ages_us = [NOW_US - priced(message).call.started_at_us for message in traffic(templates(tmp_path), plan)]

    late = [age_us for age_us in ages_us if age_us]
    assert 140 <= len(late) <= 260
    assert min(late) >= HOUR_US
    assert max(late) < 6 * HOUR_US


def test_what_cannot_be_read_is_sent_as_a_record_to_be_rejected(tmp_path: Path) -> None:
    found, _ = read_all(
        write(tmp_path, "a.jsonl", "{broken secret\n" + lines(cloud_event({"response": 7}))), redact=True
    )

    messages = list(traffic([template(one) for one in found], Plan(tenants=2, now_us=NOW_US, features=1)))

    assert len(messages) == 2
    assert b"secret" not in (messages[0].value or b"")


FACTS = RunFacts(files=["a"], sizes_bytes=[1], settings={"seed": 1}, now_us=NOW_US)


def journalled(n: int) -> Journalled:
    return Journalled(
        topic="llm.raw.v1", partition=n % 3, offset=n, append_at_us=NOW_US + n, n=n, key=f"acme/e{n}",
        headers={"ce_id": f"e{n}", "ce_tenantid": "acme"}, **text_or_base64(b"\xff" if n else "ü".encode()),
    )  # fmt: skip


def test_a_journal_is_read_back_to_the_byte(tmp_path: Path) -> None:
    journal, _ = Journal.open(tmp_path / "j.jsonl", FACTS)
    for n in range(2):
        journal.write(journalled(n))
    journal.close()

    found, _ = read_all(str(tmp_path / "j.jsonl"))

    assert [one.raw.value for one in found] == ["ü".encode(), b"\xff"]
    assert [(one.raw.topic, one.raw.partition, one.raw.offset, one.raw.append_at_us) for one in found] == [
        ("llm.raw.v1", 0, 0, NOW_US),
        ("llm.raw.v1", 1, 1, NOW_US + 1),
    ]


def test_a_stopped_run_is_taken_up_with_its_own_time_and_without_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal, _ = Journal.open(path, FACTS)
    journal.write(journalled(0))
    journal.write(journalled(1))
    journal.close()
    path.write_bytes(path.read_bytes()[:-20])

    again, facts = Journal.open(path, RunFacts(["a"], [1], {"seed": 1}, NOW_US + 99))
    again.write(journalled(1))
    again.close()

    assert (again.acknowledged, facts.now_us) == ({0}, NOW_US)
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [0, 1]


def test_the_journal_of_another_run_is_never_written_to(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal, _ = Journal.open(path, FACTS)
    journal.write(journalled(0))
    journal.close()

    with pytest.raises(ValueError, match="belongs to a run with other files or options"):
        Journal.open(path, RunFacts(["a"], [1], {"seed": 2}, NOW_US))
    path.with_name("j.jsonl.run.json").unlink()
    with pytest.raises(ValueError, match="name a new file"):
        Journal.open(path, FACTS)


def test_captured_texts_leave_only_for_tenants_that_allow_it(tmp_path: Path) -> None:
    asked = {"messages": [{"role": "user", "content": "my secret question"}], "model": "m"}
    rows = [
        cloud_event({"provider": "openai", "request": asked, "response": CHAT}, f"e{at}", tenant)
        for at, tenant in enumerate(("acme", "globex", "globex"))
    ]
    found, _ = read_all(write(tmp_path, "a.jsonl", lines(*rows)))
    capture = Capture(lambda tenant_id: tenant_id == "acme")

    sent = list(capture.kept(traffic([template(one) for one in found], Plan())))

    assert [b"secret question" in (message.value or b"") for message in sent] == [True, False, False]
    assert [priced(message).known_cost_usd_pico for message in sent] == [priced(sent[0]).known_cost_usd_pico] * 3
    assert capture.report("consent.toml") == [
        "2 records of tenant 'globex' were sent without texts: consent.toml does not allow capture"
    ]
