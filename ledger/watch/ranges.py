"""Sets of whole numbers as sorted half-open ranges, so that millions of neighbours take the room of one. Pure."""

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]
"""Sorted, apart from each other, none empty."""


def runs(numbers: Iterable[int]) -> Ranges:
    """The numbers as ranges."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return tuple(found)


def joined(one: Ranges, other: Ranges) -> Ranges:
    """What is in either."""
    found: list[tuple[int, int]] = []
    for start, end in sorted((*one, *other)):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def holds(ranges: Ranges, number: int) -> bool:
    """Whether it is in one of them."""
    low, high = 0, len(ranges)
    while low < high:
        middle = (low + high) // 2
        if ranges[middle][1] <= number:
            low = middle + 1
        else:
            high = middle
    return low < len(ranges) and ranges[low][0] <= number


def size(ranges: Ranges) -> int:
    """How many numbers there are."""
    return sum(end - start for start, end in ranges)


def between(ranges: Ranges) -> Ranges:
    """What is missing between them."""
    return tuple((ranges[at][1], ranges[at + 1][0]) for at in range(len(ranges) - 1))


def bounded(ranges: Ranges, most: int, *, below: int | None = None) -> tuple[Ranges, int]:
    """At most so many ranges: the lowest gaps (below that number) are closed, and how many numbers that gives up."""
    excess = len(ranges) - most
    if below is not None:
        excess = min(excess, sum(end <= below for _, end in between(ranges)))
    if excess <= 0:
        return ranges, 0
    lowest = ranges[: excess + 1]
    return ((lowest[0][0], lowest[-1][1]), *ranges[excess + 1 :]), size(between(lowest))
