"""The page about faults says what the runs came to, and is as fresh as what was kept of them."""

import pytest

from tests.faults import report
from tests.faults.running import Met, Outcome

_FAULT = {"code": "F2", "name": "kill_broker", "target": "kafka", "detail": "kill -9 1", "lasted_s": 4.0}
_FIGURES = {
    "records in the log": 200_123, "calls": 190_000, "known cost, pico-USD": 12_340_000_000_000, "lost": 0,
    "doubled": 0, "money difference, pico-USD": 0, "calls of the rebuilt ledger": 190_000,
}  # fmt: skip


def _outcome(**facts: object) -> Outcome:
    met = [
        Met(name="kill_broker", faults=[_FAULT], recovered_s=3.5),
        Met(name="reprice + kill_broker", faults=[_FAULT], operation="run 1 (tried 2 times)", recovered_s=5.5),
    ]
    plain = {"seed": 3, "events": 200_000, "prefix": "f", "started_at": "", "met": met, "figures": _FIGURES}
    return Outcome(**(plain | facts))  # type: ignore[arg-type]


def test_a_run_in_which_all_was_made_and_nothing_differs_is_right_and_said_to_be() -> None:
    outcome = _outcome()
    assert outcome.is_right
    page = report.page([outcome])
    assert "| 3 | 200,123 | 190,000 | 12.34 | 2 | 0 | 0 | 0 | 0 |" in page
    assert "| kill_broker | F2 | 2 | 8.5 | 9.5 | 0 |" in page
    assert "| 3 | reprice + kill_broker | run 1 (tried 2 times) |" in page
    assert "What failed" not in page


@pytest.mark.parametrize(
    "facts",
    [
        {"failed": ["NotInjected: no worker"]},
        {"problems": ["I1 1 calls lost"]},
        {"seen_wrong": ["3 calls vanished"]},
        {"met": [Met(name="kill_broker", faults=[_FAULT], recovered_s=None)]},
    ],
)
def test_whatever_went_wrong_makes_the_run_wrong(facts: dict[str, object]) -> None:
    assert not _outcome(**facts).is_right


def test_what_failed_is_on_the_page() -> None:
    page = report.page([_outcome(failed=["NotInjected: no worker"], problems=["I1 1 calls lost: expected …"])])
    assert "- Seed 3: NotInjected: no worker" in page
    assert "- Seed 3: I1 1 calls lost" in page


@pytest.mark.skipif(not report.PAGE.exists(), reason="no run was reported yet")
def test_the_page_is_fresh() -> None:
    assert report.PAGE.read_text(encoding="utf-8") == report.page(report.kept())
