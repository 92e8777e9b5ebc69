"""What cannot be read costs one record its facts: the gateway settles, the shipper ships, a start restores."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
from prometheus_client import REGISTRY

from serving.gateway import accounting, capturing, costs, envelopes, restoring, shipping
from serving.gateway.accounting import OutboxAccounting
from serving.gateway.admission import KeyedAdmission
from serving.gateway.budgets import Budgets
from serving.gateway.capturing import Capturing, Kept
from serving.gateway.configuration import Capture
from serving.gateway.defects import survived
from serving.gateway.envelopes import NOT_UNDERSTOOD
from serving.gateway.frames import MAX_FRAME_BYTES, OUTCOME, framed
from serving.gateway.outbox import Outbox, OutboxLimits
from serving.gateway.records import Intent, Outcome
from serving.gateway.replies import Facts, facts_of
from serving.gateway.restoring import unsettled
from serving.gateway.tailing import stored
from tests.serving.admissions import admission, key
from tests.serving.attempts import COST_USD_PICO, intent, outcome
from tests.serving.running import CHAT, STREAM, Running, Upstream, completion, reply, streamed, with_upstream
from tests.serving.test_outbox import _calls, _read, _shipped, root
from tokenledger.process import Context, default_context, process
from tokenledger.records import PricedCall, RawEvent, Rejected

__all__ = ["root"]

CANARY = b"canary"
"""In a reply that we have a defect with."""
CURSED = msgspec.Raw(
    b'{"id":"chatcmpl-1","model":"gpt-4o-mini","usage":{"prompt_tokens":3},"system_fingerprint":"canary"}'
)


def fails(*_: Any, **__: Any) -> NoReturn:
    """As a defect does."""
    raise ZeroDivisionError("canary")


def reads_all_but_the_canary(raw: RawEvent, context: Context) -> PricedCall | Rejected:
    """A defect that one reply brings out."""
    return fails() if CANARY in (raw.value or b"") else process(raw, context)


def counted(place: str) -> float:
    """How often something was not understood there."""
    name, labels = "tokenledger_gateway_not_understood_total", {"place": place, "type": "ZeroDivisionError"}
    return REGISTRY.get_sample_value(name, labels) or 0.0


Played = Callable[[OutboxAccounting], None]


def with_accounts(folder: Path, budgets: Budgets, played: Played, *, attempts: int = 3) -> Outbox:
    """So many attempts, each reserved for and intended, then what is played; the outbox as it was left."""

    async def all_of_it() -> Outbox:
        outbox = Outbox(folder, OutboxLimits(capacity_bytes=1 << 30, segment_bytes=4 * MAX_FRAME_BYTES))
        await outbox.start()
        admitted = admission([key()], budgets=budgets, limits=[(None, "month", 10**15)])
        admitted.epoch = outbox.epoch.name
        books = OutboxAccounting(outbox, admitted, context=default_context())
        for number in range(attempts):
            await books.intend(begun(admitted, f"e{number}"))
        played(books)
        assert outbox.open_intents == 0, "the room of each outcome is given back"
        await outbox.close()
        return outbox

    return asyncio.run(all_of_it())


def begun(admitted: KeyedAdmission, event_id: str) -> Intent:
    """An intent with its reservation."""
    reserved = admitted.reserve(intent(event_id))
    assert isinstance(reserved, int)
    return intent(event_id, reserved_usd_pico=reserved)


def test_an_outcome_whose_cost_cannot_be_read_is_settled_with_what_was_reserved(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "process", reads_all_but_the_canary)
    before = counted("cost")

    def played(books: OutboxAccounting) -> None:
        assert books.settle(intent("e0"), outcome("e0", reply=CURSED)) is None
        assert books.settle(intent("e1"), outcome("e1")) == COST_USD_PICO
        assert books.settle(intent("e2"), outcome("e2")) == COST_USD_PICO

    budgets = Budgets()
    outbox = with_accounts(root, budgets, played)
    assert counted("cost") == before + 1
    assert {one.event_id for one in _read(outbox.epoch.folder) if isinstance(one, Outcome)} == {"e0", "e1", "e2"}
    assert len(budgets.settled()) == 3, "no hold is left open"


def test_an_outcome_that_cannot_be_put_down_is_put_down_without_its_reply(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounting, "_shrunk", fails)
    long = msgspec.Raw(b'{"id":"x","choices":[],"system_fingerprint":"%b"}' % (b"x" * 5_000))

    def played(books: OutboxAccounting) -> None:
        for number in range(3):
            books.settle(intent(f"e{number}"), outcome(f"e{number}", reply=long if number == 1 else None))

    outbox = with_accounts(root, Budgets(), played)
    found = [one for one in _read(outbox.epoch.folder) if isinstance(one, Outcome)]
    assert [(one.event_id, one.error_type) for one in found] == [("e0", None), ("e1", NOT_UNDERSTOOD), ("e2", None)]
    assert (found[1].http_status, found[1].reply) == (200, None)


@pytest.mark.parametrize("field", ["usage", "x_groq", "timings"])
def test_a_long_outcome_keeps_what_its_reply_counted_whatever_else_is_in_it(root: Path, field: str) -> None:
    counts: dict[str, Any] = {"prompt_tokens": 700, "completion_tokens": 20, "total_tokens": 720}
    told = {"usage": counts, "x_groq": {"usage": counts}, "timings": {"prompt_n": 700, "predicted_n": 20}}[field]
    body = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o-mini", "choices": [], field: told, "more": "x" * 5_000}
    raw = msgspec.Raw(msgspec.json.encode(body).replace(b'"created":1', b'"created":1e400'))

    def played(books: OutboxAccounting) -> None:
        books.settle(intent("e0"), outcome("e0", reply=raw, output_chunks=3))

    outbox = with_accounts(root, Budgets(), played, attempts=1)
    call = _calls(_shipped(outbox.epoch.folder))["e0"].call
    assert (call.usage_source, call.input_tokens, call.output_tokens) == ("reported", 700, 20)


def _three_of_which_one_is_cursed(books: OutboxAccounting) -> None:
    for number in range(3):
        more = {"reply": CURSED} if number == 1 else {}
        books.settle(intent(f"e{number}"), outcome(f"e{number}", **more))


def test_a_record_we_have_a_defect_with_is_shipped_plainer_and_those_after_it_as_ever(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = with_accounts(root, Budgets(), _three_of_which_one_is_cursed)
    monkeypatch.setattr(shipping, "process", reads_all_but_the_canary)
    sent = _shipped(outbox.epoch.folder)
    assert [CANARY in (raw.value or b"") for raw in sent].count(True) == 1, "whoever reads it may understand it"
    calls = _calls([raw for raw in sent if CANARY not in (raw.value or b"")])
    assert {event_id: one.call.status for event_id, one in calls.items()} == {"e0": "ok", "e1": "aborted", "e2": "ok"}
    assert calls["e1"].call.error_type == NOT_UNDERSTOOD


@pytest.mark.parametrize("of", ["reply", "texts"])
def test_a_record_that_cannot_be_made_is_shipped_without_what_hinders_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    outbox = with_accounts(root, Budgets(), _three_of_which_one_is_cursed)
    make = envelopes.raw_event

    def raw_event(one: Intent, ended: Outcome | None, *, epoch: str, texts: Any) -> RawEvent:
        is_cursed = ended is not None and ended.reply is not None and CANARY in bytes(ended.reply)
        return fails() if is_cursed and (of == "reply" or texts) else make(one, ended, epoch=epoch, texts=texts)

    monkeypatch.setattr(shipping, "raw_event", raw_event)
    monkeypatch.setattr(shipping.EpochShipper, "_texts", lambda *_: capturing.Texts({}, []))
    calls = _calls(_shipped(outbox.epoch.folder))
    expected = "aborted" if of == "reply" else "ok"
    assert {event_id: one.call.status for event_id, one in calls.items()} == {"e0": "ok", "e1": expected, "e2": "ok"}


def test_what_a_dead_gateway_left_is_restored_but_for_the_cost_of_what_cannot_be_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = with_accounts(root, Budgets(), _three_of_which_one_is_cursed)
    monkeypatch.setattr(restoring, "process", reads_all_but_the_canary)
    found = {one.event_key[-2:]: one.amount_usd_pico for one in unsettled(root, "own", context=default_context())}
    reserved = next(one.reserved_usd_pico for one in _read(outbox.epoch.folder) if isinstance(one, Intent))
    assert found == {"e0": COST_USD_PICO, "e1": reserved, "e2": COST_USD_PICO}


def test_an_outcome_too_deep_to_be_read_again_is_an_end_all_the_same() -> None:
    for depth in range(900, 1_100, 7):
        nested = b"[" * depth + b"]" * depth
        payload = b'{"event_id":"e1","http_status":200,"reply":{"id":"x","usage":%b}}' % nested
        assert stored(payload).event_id == "e1"
    found = stored(b'{"event_id":"e1","reply":' + b"[" * 5_000)
    assert (found.event_id, found.aborted, found.error_type) == ("e1", True, NOT_UNDERSTOOD)
    assert framed(OUTCOME, msgspec.json.encode(found))


def test_an_attempt_whose_facts_cannot_be_told_is_settled_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Facts, "encoded", fails)

    async def scenario(gateway: Running, _server: Upstream) -> None:
        assert (await gateway.post(CHAT)).status == 200
        assert (await gateway.settled()).reply is None

    with_upstream(scenario, reply(completion()))


@pytest.mark.parametrize("stream", [False, True])
def test_texts_that_cannot_be_kept_cost_the_record_neither_its_usage_nor_the_caller_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    monkeypatch.setattr(Capturing, "keep", fails)
    monkeypatch.setattr(capturing, "folded", fails)
    consent = tmp_path / "consent.toml"
    consent.write_text("[tenants.tenant]\ncapture_texts = true\n")

    async def scenario(gateway: Running, _server: Upstream) -> None:
        gateway.gateway.capturing = Capturing(tmp_path, Capture(consent_file=str(consent)))
        answered = await gateway.post(CHAT | {"stream": stream})
        assert answered.body.endswith(b"data: [DONE]\n\n" if stream else b"}")
        told = await gateway.settled()
        assert told.reply is not None
        assert b'"prompt_tokens":5' in bytes(told.reply)
        assert (told.texts, told.error_type) == (None, None)

    with_upstream(scenario, streamed(*STREAM) if stream else reply(completion()))


def test_what_is_told_of_a_defect_is_its_type_and_line_and_no_word_of_what_was_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = counted("reply")
    assert survived("reply", lambda: facts_of(b"{}")) is not None
    assert survived("reply", fails) is None
    assert counted("reply") == before + 1
    [told] = [vars(record) for record in caplog.records]
    assert (told["facts"]["type"], told["facts"]["line"].partition(":")[0]) == ("ZeroDivisionError", __name__)
    assert "canary" not in str(told)


def test_no_texts_are_said_to_lie_anywhere_where_keeping_them_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Capturing, "keep", fails)
    kept = Kept(Capturing(tmp_path, Capture(consent_file=str(tmp_path / "none.toml"))), {})
    kept.whole(b"{}")
    assert kept.at is None
