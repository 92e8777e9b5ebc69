"""Every record has an outcome that a sink takes, whatever our own code does."""

import pytest

from flink_jobs import outcome as module
from flink_jobs.outcome import LARGEST_BYTES, outcome
from tokenledger.process import Context, default_context
from tokenledger.records.priced import PricedCall
from tokenledger.records.raw import RawEvent
from tokenledger.records.rejected import Rejected
from tokenledger.records.wire import decode_rejected

RAW = RawEvent(value=b"{}", headers={"ce_id": b"1", "ce_tenantid": b"t"}, topic="llm.raw.v1", partition=3, offset=9)


@pytest.mark.slow
def test_a_defect_of_ours_becomes_a_rejected_record_that_names_it_without_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def defective(_raw: RawEvent, _context: Context) -> PricedCall | Rejected:
        raise ZeroDivisionError("a text of the call")

    monkeypatch.setattr(module, "process", defective)

    priced, value, headers = outcome(RAW, default_context())

    why = decode_rejected(headers)
    assert (priced, value, why.reason, why.partition, why.offset) == (False, b"{}", "internal_error", 3, 9)
    assert why.detail.startswith("ZeroDivisionError at ")
    assert "a text of the call" not in why.detail


@pytest.mark.parametrize(
    "raw",
    [
        RawEvent(value=b"x" * (LARGEST_BYTES + 1), headers={"ce_id": b"1"}),
        RawEvent(value=b"x", headers={"ce_id": b"1", "long": b"y" * LARGEST_BYTES}),
    ],
    ids=["a long value", "a long header"],
)
def test_a_rejected_record_never_exceeds_what_a_sink_takes(raw: RawEvent) -> None:
    _, value, headers = outcome(raw, default_context())

    assert value is not None
    assert raw.value is not None
    assert len(value) + sum(len(name) + len(text) for name, text in headers.items()) <= LARGEST_BYTES
    assert raw.value.startswith(value)
    assert int(headers["value_bytes"]) == len(raw.value)
