"""The encoder in numpy against a slow one written from the papers, number by number."""

import asyncio
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.cache import minilm
from serving.cache.embedding import BusyError, Worker
from serving.cache.minilm import DIMENSIONS, Model, NoModelError, packaged

Doubles = NDArray[np.float64]


@pytest.fixture(scope="module")
def model() -> Model:
    """The wheel's."""
    return packaged()


def _norm(rows: Doubles, scale: Doubles, shift: Doubles) -> Doubles:
    return np.array([(row - row.mean()) / math.sqrt(row.var() + 1e-12) * scale + shift for row in rows])


def _softmax(rows: Doubles) -> Doubles:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def slowly(ids: list[int], weights: dict[str, Doubles]) -> Doubles:
    """BERT as its paper has it, in double precision, head after head; the mean of the tokens, at unit length."""

    def linear(rows: Doubles, name: str) -> Doubles:
        return np.asarray(rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])

    rows = np.array([
        weights["embeddings.word_embeddings.weight"][token]
        + weights["embeddings.position_embeddings.weight"][place]
        + weights["embeddings.token_type_embeddings.weight"][0]
        for place, token in enumerate(ids)
    ])  # fmt: skip
    rows = _norm(rows, weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"])
    for number in range(6):
        layer = f"encoder.layer.{number}"
        query, key, value = (linear(rows, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
        heads = []
        for head in range(12):
            part = slice(32 * head, 32 * head + 32)
            heads.append(_softmax(query[:, part] @ key[:, part].T / math.sqrt(32)) @ value[:, part])
        attended = linear(np.concatenate(heads, axis=1), f"{layer}.attention.output.dense")
        name = f"{layer}.attention.output.LayerNorm"
        rows = _norm(rows + attended, weights[f"{name}.weight"], weights[f"{name}.bias"])
        wide = linear(rows, f"{layer}.intermediate.dense")
        wide = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))(wide)
        narrow = linear(wide, f"{layer}.output.dense")
        name = f"{layer}.output.LayerNorm"
        rows = _norm(rows + narrow, weights[f"{name}.weight"], weights[f"{name}.bias"])
    mean = rows.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


TEXTS = [
    "How do I reset my password?",
    "hi",
    "Une question en français, s'il vous plaît ?",
    "x = [i**2 for i in range(10)]",
]


@pytest.mark.slow
def test_vectors_are_those_of_the_papers_in_double_precision(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    weights: dict[str, Doubles] = {}
    monkeypatch.setattr(minilm, "Model", lambda folder: weights.update(_doubles(folder)))
    packaged()
    tokens = model.tokens(TEXTS)

    found = model.vectors(tokens)

    for ids, vector in zip(tokens, found, strict=True):
        assert np.abs(slowly(ids, weights) - vector).max() < 1e-5


def _doubles(folder: Path) -> dict[str, Doubles]:
    return {name: values.astype(np.float64) for name, values in minilm.tensors(folder / "model.safetensors").items()}


@pytest.mark.slow
def test_company_in_a_batch_changes_nothing(model: Model) -> None:
    alone = np.concatenate([model.vectors(model.tokens([text])) for text in TEXTS])

    assert np.abs(alone - model.vectors(model.tokens(TEXTS))).max() < 1e-5


def test_tokens_are_those_of_the_words(model: Model) -> None:
    """101 and 102 are the ends of a text; the others are places in the vocabulary that BERT was published with."""
    assert model.tokens(["hello world", ""]) == [[101, 7592, 2088, 102], [101, 102]]


def test_questions_of_one_meaning_are_nearer_than_others(model: Model) -> None:
    one, same, other = model.vectors(
        model.tokens(["How do I reset my password?", "I forgot my password, how to set a new one?", "Who was Goethe?"])
    )

    assert one @ same > 0.7
    assert one @ other < 0.3


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 64)
    with pytest.raises(NoModelError, match="SHA-256"):
        Model(tmp_path)


@pytest.mark.slow
def test_a_text_of_more_tokens_than_the_model_reads_is_said_to_be_too_long() -> None:
    async def scenario() -> None:
        worker = Worker()
        assert (await worker.embed(["a word", "word " * 400])).shape == (2, DIMENSIONS)
        assert (await worker.run(["word " * 250], len, whole=True)) == 1
        with pytest.raises(OverflowError):
            await worker.run(["word " * 255], len, whole=True)
        worker.close()

    asyncio.run(scenario())


def test_without_the_model_everybody_is_told_and_other_work_is_done() -> None:
    def absent() -> Model:
        raise NoModelError("not installed")

    async def scenario() -> None:
        worker = Worker(load=absent)
        for _ in range(2):
            with pytest.raises(NoModelError):
                await worker.embed(["hello"])
        assert worker.has_no_model
        assert await worker.run([], len) == 0
        worker.close()

    asyncio.run(scenario())


def test_a_defect_costs_one_look_up_and_not_the_thread() -> None:
    async def scenario() -> None:
        worker = Worker()
        with pytest.raises(BusyError):
            await worker.run([], lambda _none: 1 // 0)
        assert await worker.run([], len) == 0
        worker.close()

    asyncio.run(scenario())


@pytest.mark.slow
def test_the_loop_goes_on_while_texts_are_embedded() -> None:
    """The longest pause is a matter of the machine, and benchmarks/cache.py measures it; here, that there are turns."""

    async def scenario() -> None:
        worker = Worker()
        await worker.embed(["warm"])
        embedding = asyncio.ensure_future(worker.embed(["word " * 250] * 4))
        turns = 0
        while not embedding.done():
            await asyncio.sleep(0.001)
            turns += 1
        worker.close()
        assert turns > 10

    asyncio.run(scenario())
