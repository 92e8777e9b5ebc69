"""Numbers of producers against a model that remembers every record."""

import random
from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ledger.watch import sequences
from ledger.watch.ranges import between, bounded, holds, joined, runs, size
from ledger.watch.sequences import Epochs, Numbered, fold

_WHOLE = 0
"""The log was watched from its first record."""


def missing(epochs: Epochs, name: str) -> set[int]:
    """What the epoch lacks below its highest number."""
    epoch = epochs[name]
    first = epoch.seen[0][0] if epoch.first_no is None else epoch.first_no
    head = set(range(first, epoch.seen[0][0]))
    return head | {number for start, end in between(epoch.seen) for number in range(start, end)}


@given(st.lists(st.integers(0, 60)), st.lists(st.integers(0, 60)))
def test_ranges_are_the_set_of_their_numbers(one: list[int], other: list[int]) -> None:
    both = joined(runs(one), runs(other))
    assert both == runs({*one, *other})
    assert size(both) == len({*one, *other})
    assert all(holds(both, number) == (number in {*one, *other}) for number in range(-1, 62))


@given(st.sets(st.integers(0, 200), min_size=1), st.integers(1, 20))
def test_bounded_ranges_lose_their_lowest_gaps_and_count_them(numbers: set[int], most: int) -> None:
    ranges = runs(numbers)
    kept, given_up = bounded(ranges, most)
    assert len(kept) == min(most, len(ranges))
    assert size(kept) == len(numbers) + given_up
    assert (kept[0][0], kept[-1][1]) == (min(numbers), max(numbers) + 1)


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 60), st.floats(0, 0.6))
def test_losses_disorder_repetitions_and_restarts_leave_exactly_what_was_lost(
    seed: int, restarts: int, count: int, loss: float
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a model, not a secret
    sent = [
        Numbered(f"start-{start}", number, f"{start}/{number}", 1_000 * start + number)
        for start in range(restarts)
        for number in range(1, count + 1)
    ]
    arrived = [one for one in sent if chance.random() >= loss]
    arrived += chance.sample(arrived, len(arrived) // 3)
    chance.shuffle(arrived)
    epochs: Epochs = {}
    at = 0
    while at < len(arrived):
        step = chance.randint(1, 20)
        epochs = fold(epochs, arrived[at : at + step], watching_since_us=_WHOLE)
        at += step
    for start in range(restarts):
        name = f"start-{start}"
        numbers = {one.number for one in arrived if one.epoch == name}
        assert (name in epochs) == bool(numbers)
        if numbers:
            assert missing(epochs, name) == set(range(1, max(numbers))) - numbers


def _of_no_epoch(numbers: Sequence[int], *, start: int, from_us: int) -> list[Numbered]:
    return [Numbered(None, number, f"{start}/{number}", from_us + at) for at, number in enumerate(numbers)]


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(5, 80))
def test_restarts_of_a_producer_that_names_no_epoch_are_no_gaps(seed: int, restarts: int, count: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a model, not a secret
    epochs: Epochs = {}
    lost_of: list[set[int]] = []
    for start in range(restarts):
        # The first and the last number arrive; neighbours overtake each other after the first; some come twice.
        lost = {number for number in range(2, count) if chance.random() < 0.2}
        numbers = [number for number in range(1, count + 1) if number not in lost]
        late = sorted(numbers[1:], key=lambda number: number + chance.randint(0, 10))
        twice = [1, *late, *chance.sample(numbers, len(numbers) // 4)]
        lost_of.append(lost)
        for record in _of_no_epoch(twice, start=start, from_us=start * 10_000):
            epochs = fold(epochs, [record], watching_since_us=_WHOLE)
    assert [missing(epochs, f"~{start + 1}") for start in range(restarts)] == lost_of


def test_a_gap_closes_when_the_late_record_comes() -> None:
    epochs = fold({}, [Numbered("a", 1, "e1", 1), Numbered("a", 3, "e3", 2)], watching_since_us=_WHOLE)
    assert missing(epochs, "a") == {2}
    assert missing(fold(epochs, [Numbered("a", 2, "e2", 9)], watching_since_us=_WHOLE), "a") == set()


def test_the_beginning_of_an_epoch_is_missed_only_where_it_could_have_been_seen() -> None:
    records = [Numbered("a", 5, "e5", 50)]
    assert missing(fold({}, records, watching_since_us=_WHOLE), "a") == {1, 2, 3, 4}
    assert missing(fold({}, records, watching_since_us=51), "a") == set()


def test_a_producer_that_counts_from_nought_has_no_gap_at_one() -> None:
    epochs = fold({}, [Numbered("a", 0, "e0", 1), Numbered("a", 1, "e1", 2)], watching_since_us=_WHOLE)
    assert missing(epochs, "a") == set()


def test_gaps_beyond_the_bound_are_given_up_and_counted_once_they_are_settled() -> None:
    numbers = [Numbered("a", 2 * number, f"e{number}", number) for number in range(1, 3 * sequences.MOST_RANGES)]
    epochs = fold({}, numbers, watching_since_us=_WHOLE)
    # Half of a log is read: the other half may hold what is missing.
    assert (len(epochs["a"].seen), epochs["a"].given_up) == (3 * sequences.MOST_RANGES - 1, 0)
    settled = {"a": msgspec.structs.replace(epochs["a"], settled_no=epochs["a"].high)}
    epoch = fold(settled, numbers[:1], watching_since_us=_WHOLE)["a"]
    assert (len(epoch.seen), epoch.given_up) == (sequences.MOST_RANGES, 2 * sequences.MOST_RANGES - 1)


def test_a_late_record_of_the_start_before_is_not_taken_for_one_of_this_start() -> None:
    before = _of_no_epoch([number for number in range(1, 5_001) if number != 4_990], start=0, from_us=0)
    epochs = fold({}, before, watching_since_us=_WHOLE)
    epochs = fold(epochs, _of_no_epoch([1, 2], start=1, from_us=10_000), watching_since_us=_WHOLE)
    epochs = fold(epochs, [Numbered(None, 4_990, "0/4990", 10_500)], watching_since_us=_WHOLE)
    assert [missing(epochs, name) for name in ("~1", "~2")] == [set(), set()]
