"""Limits per group, and quotas per stratum: which rows stay depends on their ids, not on their order."""

from collections.abc import Iterable, Iterator, Mapping

from dags.core.recipe import Balance


def limit(counts: Mapping[str, int], balance: Balance) -> int:
    """The most rows a group keeps."""
    present = [count for count in counts.values() if count > 0]
    limits = [max(present, default=0)]
    if balance.most_rows is not None:
        limits.append(balance.most_rows)
    if balance.most_times_smallest is not None:
        limits.append(balance.most_times_smallest * min(present, default=0))
    return min(limits)


def quotas(counts: Mapping[str, int], rows: int) -> dict[str, int]:
    """Rows of each group, `rows` in all where there are as many: equal shares, what one lacks goes to the others.

    The remainder of a division goes to the first groups by name.
    """
    left, given = min(rows, sum(counts.values())), dict.fromkeys(counts, 0)
    while left:
        open_groups = sorted(name for name in counts if given[name] < counts[name])
        share = left // len(open_groups)
        # Fewer rows than groups are left only once: all open groups have had the same number until then.
        for name in open_groups if share else open_groups[:left]:
            more = min(max(share, 1), counts[name] - given[name])
            given[name] += more
            left -= more
    return given


def over(rows: Iterable[tuple[str, int]], quota: Mapping[str, int]) -> Iterator[int]:
    """The rows of each group beyond its quota, from (group, row) sorted by group and then by id."""
    group, taken = None, 0
    for current, row in rows:
        if current != group:
            group, taken = current, 0
        taken += 1
        if taken > quota[current]:
            yield row
