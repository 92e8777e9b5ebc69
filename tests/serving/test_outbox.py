"""The outbox on disk: what was acknowledged is found after any crash, once, and nothing is found that was not there."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway import epochs
from serving.gateway.cursors import Cursor, CursorFile
from serving.gateway.envelopes import orphaned, raw_event
from serving.gateway.frames import INTENT, MAX_FRAME_BYTES, OUTCOME, framed, frames
from serving.gateway.outbox import Outbox, OutboxLimits
from serving.gateway.records import Intent, Outcome
from serving.gateway.shipping import EpochShipper
from serving.gateway.tailing import Tail
from tests.serving.attempts import STARTED_AT_US, intent, outcome
from tokenledger.merge import candidate, resolve
from tokenledger.normalise.envelope import Envelope
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall, RawEvent, Rejected

_SEGMENT_BYTES = 2 * MAX_FRAME_BYTES
_LIMITS = OutboxLimits(capacity_bytes=64 * _SEGMENT_BYTES, segment_bytes=_SEGMENT_BYTES)


@pytest.fixture
def root() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tl-outbox-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _frame(one: Intent | Outcome) -> bytes:
    return framed(INTENT if isinstance(one, Intent) else OUTCOME, msgspec.json.encode(one))


async def _written(root: Path, count: int, *, ended: int, limits: OutboxLimits = _LIMITS) -> Path:
    """An epoch with so many intents, of which the first `ended` have an outcome, left as by a clean stop."""
    outbox = Outbox(root, limits)
    await outbox.start()

    async def attempt(number: int) -> None:
        frame = _frame(intent(f"e{number}"))
        await outbox.room_for(frame)
        await outbox.write(frame)

    await asyncio.gather(*(attempt(number) for number in range(count)))
    for number in range(ended):
        outbox.append(_frame(outcome(f"e{number}")))
    await outbox.close()
    return outbox.epoch.folder


def _read(folder: Path) -> list[Intent | Outcome]:
    tail, found = Tail(folder), []
    while part := tail.read():
        found += part
    return found


def test_every_intent_and_outcome_is_read_back_in_order_across_segments(root: Path) -> None:
    folder = asyncio.run(_written(root, 200, ended=150))
    found = _read(folder)
    assert len(epochs.segments(folder)) > 2
    assert [one.event_id for one in found if isinstance(one, Intent)] == [f"e{number}" for number in range(200)]
    assert [one.event_id for one in found if isinstance(one, Outcome)] == [f"e{number}" for number in range(150)]


@given(payloads=st.lists(st.binary(max_size=300).map(lambda one: one + b"}"), min_size=1, max_size=8), data=st.data())
def test_a_file_cut_at_any_byte_holds_the_frames_that_end_before_the_cut(
    payloads: list[bytes], data: st.DataObject
) -> None:
    whole = [framed(INTENT, payload) for payload in payloads]
    file = b"".join(whole)
    ends = [sum(len(frame) for frame in whole[: number + 1]) for number in range(len(whole))]
    cut = data.draw(st.integers(0, len(file)))
    expected = [payload for payload, end in zip(payloads, ends, strict=True) if end <= cut]
    assert [frame.payload for frame in frames(file[:cut])] == expected
    # A preallocated file goes on with zeros where a shorter one ends.
    assert [frame.payload for frame in frames(file[:cut].ljust(len(file) + 64, b"\0"))] == expected


def test_a_small_file_cut_at_every_length_holds_what_ends_before_it() -> None:
    whole = [_frame(intent("a")), _frame(outcome("a")), _frame(intent("b"))]
    file, ends = b"".join(whole), [len(b"".join(whole[: number + 1])) for number in range(3)]
    for cut in range(len(file) + 1):
        assert len(list(frames(file[:cut]))) == sum(end <= cut for end in ends)


@given(flipped=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_damaged_byte_ends_the_file_and_invents_nothing(flipped: int, bit: int) -> None:
    whole = [_frame(intent("a")), _frame(outcome("a")), _frame(intent("b"))]
    file = bytearray(b"".join(whole))
    at = flipped % len(file)
    file[at] ^= 1 << bit
    found = [frame.payload for frame in frames(bytes(file))]
    assert found == [frame[9:] for frame in whole][: len(found)]
    assert sum(len(frame) for frame in whole[: len(found)]) <= at


def _shipped(folder: Path) -> list[RawEvent]:
    """All that a shipper sends of an epoch, read to its end by as many shippers as it takes."""
    shipper, sent = EpochShipper(folder, keep_s=0), list[RawEvent]()
    while not shipper.ended:
        sent += [shipment.raw for shipment in shipper.next()]
        shipper.acknowledged()
    shipper.close()
    return sent


def _calls(raws: list[RawEvent]) -> dict[str, PricedCall]:
    """What the ledger makes of them: event id → the record that counts."""
    priced = [process(raw, default_context()) for raw in raws]
    resolved = resolve([candidate(one) for one in priced if isinstance(one, PricedCall)])
    calls = {one.winner.record.call.event_id: one.winner.record for one in resolved}
    assert len(calls) == len(resolved), "an event that is two calls"
    return calls


def test_an_ended_epoch_gives_one_call_for_each_intent_and_closes_those_without_outcome(root: Path) -> None:
    folder = asyncio.run(_written(root, 120, ended=100))
    calls = _calls(_shipped(folder))
    assert calls.keys() == {f"e{number}" for number in range(120)}
    assert {calls[f"e{number}"].call.status for number in range(100)} == {"ok"}
    closed = [calls[f"e{number}"] for number in range(100, 120)]
    assert {one.call.status for one in closed} == {"aborted"}
    assert {(one.call.usage_source, one.price_status, one.cost_usd_pico) for one in closed} == {
        ("none", "unmetered", None)
    }


@pytest.mark.slow
@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_epoch_cut_anywhere_by_a_crash_still_gives_one_call_for_each_durable_intent(data: st.DataObject) -> None:
    """A power cut: the last segment ends in the middle of what was being written."""
    with tempfile.TemporaryDirectory(prefix="tl-outbox-") as name:
        folder = asyncio.run(_written(Path(name), 30, ended=20))
        last = max(number for number in epochs.segments(folder) if _first_frames(folder, number))
        path = epochs.segment_path(folder, last)
        file = path.read_bytes()
        used = list(frames(file))[-1].end
        cut = data.draw(st.integers(0, used), label="cut")
        path.write_bytes(file[:cut].ljust(len(file), b"\0"))
        durable = {one.event_id for one in _read(folder) if isinstance(one, Intent)}
        assert _calls(_shipped(folder)).keys() == durable
        if cut == used:
            assert len(durable) == 30


def _first_frames(folder: Path, number: int) -> bool:
    return next(frames(epochs.segment_path(folder, number).read_bytes()), None) is not None


@pytest.mark.slow
@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(turns=st.lists(st.sampled_from(["next", "acknowledged", "killed"]), max_size=25))
def test_a_shipper_that_dies_anywhere_repeats_records_and_loses_none(turns: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="tl-outbox-") as name:
        folder = asyncio.run(_written(Path(name), 60, ended=50))
        shipper, sent = EpochShipper(folder, keep_s=0), list[RawEvent]()
        for turn in turns:
            if turn == "next":
                shipper._tail._read_bytes = MAX_FRAME_BYTES  # in small steps, so that it can die between them
                sent += [shipment.raw for shipment in shipper.next()]
            elif turn == "acknowledged":
                shipper.acknowledged(at_once=True)
            else:
                shipper.close()
                shipper = EpochShipper(folder, keep_s=0)
        shipper.close()
        sent += _shipped(folder)
        calls = _calls(sent)
        assert calls.keys() == {f"e{number}" for number in range(60)}
        # A repeated record bears its own number again, so none is missing and none is given twice.
        numbered = {(int(raw.headers["ce_sequence"]), raw.value) for raw in sent}
        assert sorted(number for number, _ in numbered) == list(range(1, len(numbered) + 1))
        assert {raw.headers["ce_epoch"] for raw in sent} == {folder.name.encode()}
        assert sum(one.call.status == "ok" for one in calls.values()) == 50


def test_closing_an_orphan_twice_says_the_same_and_the_truth_outranks_it() -> None:
    context = default_context()
    closed, again = (process(raw_event(intent(), orphaned(intent()), epoch="x"), context) for _ in range(2))
    begun = process(raw_event(intent(), None, epoch="x"), context)
    truths = [
        process(raw_event(intent(), outcome(), epoch="x"), context),
        process(raw_event(intent(), outcome(reply=None, http_status=None, error_type="connect"), epoch="x"), context),
    ]
    assert isinstance(closed, PricedCall)
    assert isinstance(again, PricedCall)
    assert isinstance(begun, PricedCall)
    assert closed.fingerprint == again.fingerprint
    assert begun.rank < closed.rank
    for truth in truths:
        assert isinstance(truth, PricedCall)
        assert closed.rank < truth.rank
    assert (begun.call.status, begun.price_status, begun.cost_usd_pico) == ("in_progress", "unmetered", None)


def test_a_reply_that_contradicts_itself_is_rejected_and_its_call_ends_all_the_same(root: Path) -> None:
    async def written() -> Path:
        outbox = Outbox(root, _LIMITS)
        await outbox.start()
        await outbox.write(_frame(intent()))
        negative = b'{"id":"r","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":-4}}'
        outbox.append(_frame(outcome(reply=msgspec.Raw(negative))))
        await outbox.close()
        return outbox.epoch.folder

    sent = _shipped(asyncio.run(written()))
    made = [process(raw, default_context()) for raw in sent]
    assert [type(one) for one in made] == [PricedCall, Rejected, PricedCall]
    call = _calls(sent)["e1"]
    assert (call.call.status, call.price_status, call.call.response_id) == ("ok", "unmetered", "r")


def test_the_records_speak_the_envelope_of_the_raw_topic() -> None:
    known = {field.name for field in msgspec.structs.fields(Envelope)}
    everything = outcome(
        token_times_us=(STARTED_AT_US,), timings_us={"admit": 1}, first_token_at_us=1, aborted=True, error_type="x"
    )
    for one in (None, everything):
        raw = raw_event(intent(service_tier="flex", user_id="u", trace_id="t"), one, epoch="x")
        assert msgspec.json.decode(raw.value or b"").keys() <= known


def test_chunks_without_usage_are_estimated_and_marked_so() -> None:
    cut = outcome(reply=None, aborted=True, output_chunks=7)
    made = process(raw_event(intent(stream=True), cut, epoch="x"), default_context())
    assert isinstance(made, PricedCall)
    assert (made.call.status, made.call.usage_source) == ("aborted", "estimated")
    assert made.call.usage == {"input.text": 1000, "output.text": 7}


# Cursor and epochs


def test_a_cursor_torn_while_it_is_written_leaves_the_one_before(root: Path) -> None:
    epoch = epochs.create(root)
    file = CursorFile(epoch.folder)
    file.write(Cursor(segment=1, offset=10, open=(intent("a"),)))
    file.write(Cursor(segment=2, offset=20))
    path = epoch.folder / epochs.CURSOR
    whole = path.read_bytes()
    assert CursorFile(epoch.folder).cursor.segment == 2
    newer = next(at for at in (0, epochs.CURSOR_SLOT_BYTES) if b'"segment":2' in whole[at : at + 200])
    path.write_bytes(whole[: newer + 20] + b"?" + whole[newer + 21 :])
    found = CursorFile(epoch.folder).cursor
    assert (found.segment, found.offset, found.open) == (1, 10, (intent("a"),))


def test_a_segment_that_is_being_made_is_none_yet(root: Path) -> None:
    epoch = epochs.create(root)
    epochs.new_segment(epoch.folder, 0, size=_SEGMENT_BYTES).close()
    (epoch.folder / ".00000001.seg").write_bytes(bytes(100))
    assert epochs.segments(epoch.folder) == [0]
    assert epochs.taken_bytes(root) == _SEGMENT_BYTES + 100
    os.close(epoch.lock)


def test_an_epoch_can_be_adopted_when_its_owner_is_dead_and_not_before(root: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from serving.gateway import epochs;"
        "print(epochs.create(Path(sys.argv[1])).name, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert owner.stdout is not None
    folder = root / owner.stdout.readline().strip()
    assert epochs.adopt(folder) is None
    owner.kill()
    owner.wait()
    owner.stdout.close()
    lock = epochs.adopt(folder)
    assert lock is not None
    os.close(lock)
