"""What became of each record of a run: call, duplicate, superseded or rejected, whatever the size of the run.

24 bytes a record stay in memory; the rest waits in a spool that moves to disk above a bound. Equal 64-bit hashes only
point at records that may belong together: who wins is decided by `merge.resolve` on the records themselves.
"""

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import groupby
from typing import IO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tokenledger.merge import Candidate, resolve
from tokenledger.records.priced import PricedCall

SPILL_ABOVE_BYTES: Final = 64 << 20

_Keys = NDArray[np.int64]
_Facts = tuple[str, str, str | None, str, str, int, str, int, int]
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Facts).decode
_LENGTH_BYTES: Final = 4
_NO_KEY: Final = 0


class Outcome(IntEnum):
    """Every record has exactly one."""

    CALL = 0
    """It counts."""
    DUPLICATE = 1
    """It repeats another record of its call."""
    SUPERSEDED = 2
    """Another record of its call says more, or says it later."""
    REJECTED = 3
    """It was not understood."""


class Run:
    """The records of one run, in input order, each with a payload of the caller's."""

    def __init__(self, spill_above_bytes: int = SPILL_ABOVE_BYTES) -> None:
        # The spool takes 0 for "never on disk"; here it means at once.
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(max(spill_above_bytes, 1))  # noqa: SIM115 - see close
        self._written_bytes = 0
        self._ends = array("Q")
        self._event_keys = array("q")
        self._response_keys = array("q")
        self._rejected = bytearray()
        self.reused: set[int] = set()
        """Records that count and share an event key with another call; known after `settle`."""

    def add_call(self, priced: PricedCall, payload: bytes) -> None:
        """Take one priced record."""
        call = priced.call
        tenant_id, response_key = call.tenant_id, call.response_key
        facts = _encode(
            (
                tenant_id, call.event_key, response_key, priced.fingerprint, priced.rank,
                priced.append_at_us, priced.topic, priced.partition, priced.offset,
            )
        )  # fmt: skip
        self._write(len(facts).to_bytes(_LENGTH_BYTES, "little") + facts + payload)
        self._event_keys.append(hash((tenant_id, call.event_key)) or 1)
        self._response_keys.append(_NO_KEY if response_key is None else hash((tenant_id, response_key)) or 1)
        self._rejected.append(0)

    def add_rejected(self, payload: bytes) -> None:
        """Take one rejected record."""
        self._write(bytes(_LENGTH_BYTES) + payload)
        self._event_keys.append(_NO_KEY)
        self._response_keys.append(_NO_KEY)
        self._rejected.append(1)

    def _write(self, record: bytes) -> None:
        self._spool.write(record)
        self._written_bytes += len(record)
        self._ends.append(self._written_bytes)

    def __len__(self) -> int:
        """Records taken."""
        return len(self._ends)

    def settle(self) -> bytearray:
        """One `Outcome` a record, in input order."""
        outcomes = bytearray(Outcome.REJECTED if rejected else Outcome.CALL for rejected in self._rejected)
        for members in _components(np.array(self._event_keys), np.array(self._response_keys)):
            for resolved in resolve(self._candidate(index) for index in members):
                if resolved.id_reuse:
                    self.reused.add(resolved.winner.record)
                for one in resolved.losers:
                    outcomes[one.record] = Outcome.SUPERSEDED
                for one in resolved.duplicates:
                    outcomes[one.record] = Outcome.DUPLICATE
        return outcomes

    def payload(self, index: int) -> bytes:
        """The payload of one record."""
        record = self._record(index)
        return record[_LENGTH_BYTES + int.from_bytes(record[:_LENGTH_BYTES], "little") :]

    def payloads(self) -> Iterator[bytes]:
        """All payloads in input order, read in one go."""
        self._spool.seek(0)
        begin = 0
        for end in self._ends:
            record = self._spool.read(end - begin)
            begin = end
            yield record[_LENGTH_BYTES + int.from_bytes(record[:_LENGTH_BYTES], "little") :]

    def close(self) -> None:
        """Give the spool back."""
        self._spool.close()

    def _record(self, index: int) -> bytes:
        begin = self._ends[index - 1] if index else 0
        self._spool.seek(begin)
        return self._spool.read(self._ends[index] - begin)

    def _candidate(self, index: int) -> Candidate[int]:
        record = self._record(index)
        length = int.from_bytes(record[:_LENGTH_BYTES], "little")
        facts = _decode(record[_LENGTH_BYTES : _LENGTH_BYTES + length])
        tenant_id, event_key, response_key, fingerprint, rank, append_at_us, topic, partition, offset = facts
        return Candidate(
            tenant_id=tenant_id,
            event_key=event_key,
            response_key=response_key,
            fingerprint=fingerprint,
            rank=rank,
            origin=(append_at_us, topic, partition, offset if topic else index),
            record=index,
        )


def _components(event_keys: _Keys, response_keys: _Keys) -> Iterator[list[int]]:
    """Records that share a key, directly or through others, in groups of two and more."""
    suspects = np.flatnonzero(_repeated(event_keys) | _repeated(response_keys))
    if not len(suspects):
        return
    labels = np.arange(len(suspects))
    columns = [_groups(keys[suspects]) for keys in (event_keys, response_keys)]
    while True:
        before = labels
        for groups in columns:
            least = np.full(groups.max() + 1, len(suspects))
            np.minimum.at(least, groups, labels)
            labels = least[groups]
        if np.array_equal(before, labels):
            break
    order = np.argsort(labels, kind="stable")
    pairs = zip(labels[order].tolist(), suspects[order].tolist(), strict=True)
    for _, members in groupby(pairs, key=_first):
        yield [index for _, index in members]


def _first(pair: tuple[int, int]) -> int:
    return pair[0]


def _repeated(keys: _Keys) -> NDArray[np.bool_]:
    """Which keys occur more than once; no key is no repetition."""
    order = np.argsort(keys)
    ordered = keys[order]
    same = (ordered[1:] == ordered[:-1]) & (ordered[1:] != _NO_KEY)
    repeated = np.zeros(len(keys), bool)
    repeated[order[1:]] |= same
    repeated[order[:-1]] |= same
    return repeated


def _groups(keys: _Keys) -> NDArray[np.int64]:
    """Equal keys → equal numbers; each record without a key is alone."""
    _, groups = np.unique(keys, return_inverse=True)
    alone = keys == _NO_KEY
    groups[alone] = groups.max() + 1 + np.arange(alone.sum())
    return groups


def counts(outcomes: Iterable[int]) -> dict[Outcome, int]:
    """How many records have each outcome."""
    held = bytes(outcomes)
    return {outcome: held.count(outcome) for outcome in Outcome}
