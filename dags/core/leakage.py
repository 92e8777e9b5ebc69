"""Whether a prompt is, or nearly is, one of those that must not be trained on."""

from collections.abc import Iterable

from datasketch import MinHash, MinHashLSH

from dags.core import duplicates, words

_PERMUTATIONS = 128


class Held:
    """The prompts of evaluation sets, by hash and by signature. As large as they are, not as what is checked."""

    def __init__(self, prompts: Iterable[str], *, threshold: float) -> None:
        self._threshold = threshold
        self._exact: set[bytes] = set()
        self._near = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
        self._signatures: dict[int, duplicates.Signature] = {}
        for prompt in prompts:
            self._hold(words.normal(prompt))

    def _hold(self, text: str) -> None:
        mark = duplicates.fingerprint(text)
        if mark in self._exact:
            return
        self._exact.add(mark)
        number = len(self._signatures)
        self._signatures[number] = duplicates.signature(words.shingles(text), _PERMUTATIONS)
        self._near.insert(number, _sketch(self._signatures[number]))

    def __len__(self) -> int:
        return len(self._exact)

    def leaks(self, asks: str) -> bool:
        """Whether this normal text is among them, or from the threshold on like one of them."""
        if not self._exact:
            return False
        if duplicates.fingerprint(asks) in self._exact:
            return True
        own = duplicates.signature(words.shingles(asks), _PERMUTATIONS)
        return any(
            duplicates.similarity(own, self._signatures[number]) >= self._threshold
            for number in self._near.query(_sketch(own))
        )


def _sketch(signature: duplicates.Signature) -> MinHash:
    return MinHash(hashvalues=signature, permutations=duplicates.permutations(len(signature)), scheme=duplicates.SCHEME)
