"""The schedule: fixed by the seed, and five seeds in a row make every fault."""

from typing import cast

from tests.faults.__main__ import PROGRAMS
from tests.faults.driving import Drive
from tests.faults.injections import ALL
from tests.faults.operations import OPERATIONS
from tests.faults.schedule import SEEDS_TO_COVER, Step, steps


def _steps(seed: int) -> list[Step]:
    return steps(seed, cast("Drive", None), PROGRAMS)


def test_the_same_seed_gives_the_same_steps_and_another_seed_others() -> None:
    first, again, other = ([step.name for step in _steps(seed)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_first_steps_of_five_seeds_in_a_row_make_every_fault_that_fits_the_stack() -> None:
    possible = {fault.name for step in _steps(1) for fault in step.faults}
    made = set()
    for seed in range(7, 7 + SEEDS_TO_COVER):
        single = [step.faults[0].name for step in _steps(seed) if len(step.faults) == 1 and step.operation is None]
        made |= set(single[: len(possible) // SEEDS_TO_COVER + 1])
    assert made == possible
    unfit = {fault.name for fault in ALL} - possible
    assert all(any(word in name for word in ("gateway", "shipper", "archive", "pusher", "outbox")) for name in unfit)


def test_every_seed_has_every_operation_beside_a_fault() -> None:
    for seed in range(1, 6):
        acts = [step for step in _steps(seed) if step.operation is not None]
        assert {step.operation.name for step in acts if step.operation} == {one.name for one in OPERATIONS}
        assert all(step.faults for step in acts)


def test_faults_at_once_are_in_every_seed() -> None:
    assert all(len([step for step in _steps(seed)[:12] if len(step.faults) > 1]) >= 2 for seed in range(1, 6))
