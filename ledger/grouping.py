"""Records of one batch, grouped by the keys they share. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from ledger import keys
from tokenledger.records import PricedCall


class Keyed(NamedTuple):
    """A record and its keys."""

    priced: PricedCall
    event: bytes
    response: bytes | None


Group = list[Keyed]


def keyed(priced: PricedCall) -> Keyed:
    """A record with its keys."""
    call = priced.call
    response = call.response_key
    return Keyed(
        priced,
        keys.event_key(call.tenant_id, call.event_key),
        None if response is None else keys.response_key(call.tenant_id, response),
    )


def grouped(records: Iterable[PricedCall]) -> tuple[list[Group], list[bytes]]:
    """Groups that share no key, each in order of arrival, and all keys."""
    by_key: dict[bytes, Group] = {}
    groups: list[Group] = []
    for priced in records:
        one = keyed(priced)
        group = _joined(by_key, one)
        if group is None:
            group = []
            groups.append(group)
        group.append(one)
        by_key[one.event] = group
        if one.response is not None:
            by_key[one.response] = group
    return [group for group in groups if group], list(by_key)


def _joined(by_key: dict[bytes, Group], one: Keyed) -> Group | None:
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
