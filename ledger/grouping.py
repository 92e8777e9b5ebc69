"""Records of one batch, grouped by the keys they share. Pure."""

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Keyed(Protocol):
    """Anything that has a call's keys."""

    @property
    def event(self) -> bytes:
        """Key by event."""

    @property
    def response(self) -> bytes | None:
        """Key by response, where there is one."""


K = TypeVar("K", bound=Keyed)


def grouped(records: Iterable[K]) -> tuple[list[list[K]], list[bytes]]:
    """Groups that share no key, each in order of arrival, and all keys."""
    by_key: dict[bytes, list[K]] = {}
    groups: list[list[K]] = []
    for one in records:
        group = _joined(by_key, one)
        if group is None:
            group = []
            groups.append(group)
        group.append(one)
        by_key[one.event] = group
        if one.response is not None:
            by_key[one.response] = group
    return [group for group in groups if group], list(by_key)


def _joined(by_key: dict[bytes, list[K]], one: K) -> list[K] | None:
    """The group of one of its keys; if each key has another group, these become one."""
    group = by_key.get(one.event)
    other = None if one.response is None else by_key.get(one.response)
    if group is None or other is None or group is other:
        return group if group is not None else other
    group.extend(other)
    for member in other:
        by_key[member.event] = group
        if member.response is not None:
            by_key[member.response] = group
    other.clear()
    return group
