"""A recipe and a lake → one version of a dataset, whole or not at all, in memory that does not grow with the lake."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from dags import io
from dags.core import balance, duplicates
from dags.core.attempts import Attempt, Score, Unreadable, read
from dags.core.leakage import Held
from dags.core.left_out import Reason, Whose, without_consent
from dags.core.made import CHAT, EVAL, PAIR, PREFERENCE, Left, made
from dags.core.manifest import INDEX, FileFacts, Manifest, Source, version_of
from dags.core.recipe import Consent, Recipe
from dags.core.router_pairs import header
from dags.edges import scores as stored
from dags.edges import versions
from dags.edges.candidates import Candidates, candidates
from dags.edges.erasures import erased
from dags.edges.sorting import MEMORY, Sorter, sorter
from dags.edges.workshop import workshop

_SEEN: Final = "seen: "
"""Begins the names of counts that say what was in the lake, not what went into the version: its manifest lacks them."""


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are."""

    lake: Path
    """The lake."""
    datasets: Path
    """The versions."""
    scores: Path | None = None
    """What `tokenledger score` wrote; None does without."""


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What a build came to."""

    manifest: Manifest | None
    """The version; None where nothing is left to make one of."""
    new: bool
    """Whether it was not there before."""
    counts: dict[str, int]
    """As in the manifest, and what was seen in the lake."""


def build(recipe: Recipe, places: Places, *, window: io.Window, memory: str = MEMORY) -> Built:
    """The version that the recipe makes of what is in the lake now."""
    _there_are_scores(recipe, places.scores)
    held, against = _held(recipe, places.datasets)
    usable = _Usable(recipe.consent, erased(places.datasets))
    with workshop(places.datasets) as own, sorter(own, memory=memory) as sorted_:
        sorted_.keep_captured(io.captured(io.texts(places.lake, tenants=recipe.consent.tenants, window=window)))
        _keep_scores(sorted_, places.scores)
        counts: Counter[str] = Counter()
        source = _source(sorted_, usable, recipe=recipe, window=window, counts=counts)
        version = version_of(recipe, source, against=against)
        if version in versions.versions(places.datasets, recipe.name):
            versions.point(places.datasets, recipe.name, version=version)
            manifest = versions.load(places.datasets, f"{recipe.name}@{version}")
            return Built(manifest=manifest, new=False, counts=manifest.counts | dict(counts))
        with candidates(own, recipe.duplicates) as (put, made_file, bands_file):
            for operation in usable.operations(sorted_, counts):
                _put(operation, put, recipe=recipe, held=held, counts=counts)
        sorted_.keep_made(made_file, bands_file)
        _drop(sorted_, recipe)
        finished = own / "made"
        finished.mkdir()
        files = _write(sorted_, finished, recipe=recipe)
        _count(sorted_, counts, files=files)
        if not any(file.rows for file in files):
            return Built(manifest=None, new=False, counts=dict(counts))
        manifest = Manifest(
            name=recipe.name,
            version=version,
            kind=recipe.kind,
            recipe=recipe,
            source=source,
            against=against,
            counts={name: count for name, count in counts.items() if not name.startswith(_SEEN)},
            files=files,
        )
        new = versions.publish(places.datasets, finished, manifest=manifest)
        return Built(manifest=manifest, new=new, counts=dict(counts))


def _there_are_scores(recipe: Recipe, scores: Path | None) -> None:
    """Raises ValueError where the recipe asks for scores and nothing was ever scored: nothing could pass."""
    now = stored.current(scores) if scores is not None else stored.Current()
    asked = {
        "filters.checks": (recipe.filters.checks, now.checks, "tokenledger score run"),
        "filters.least_judge": (recipe.filters.least_judge, now.judge, "tokenledger score run --judge URL"),
    }
    for field, (wanted, there, command) in asked.items():
        if wanted and there is None:
            where = f"{scores} has no such scores" if scores is not None else "no scores were named (--scores DIR)"
            raise ValueError(f"{recipe.name}: {field} asks for scores, and {where}; `{command}` makes them")


def _keep_scores(sorted_: Sorter, scores: Path | None) -> None:
    now = stored.current(scores) if scores is not None else stored.Current()
    place = scores or Path()
    sorted_.keep_scores(stored.checks(place, now.checks), stored.judged(place, now.judge))


def _held(recipe: Recipe, datasets: Path) -> tuple[Held, dict[str, str]]:
    """The prompts it must not touch, and which versions they are of."""
    manifests = [versions.load(datasets, name) for name in recipe.leakage.against]
    prompts = (prompt for one in manifests for prompt in io.prompts(versions.folder(datasets, one), one))
    return Held(prompts, threshold=recipe.leakage.threshold), {one.name: one.version for one in manifests}


def _source(sorted_: Sorter, usable: "_Usable", *, recipe: Recipe, window: io.Window, counts: Counter[str]) -> Source:
    """What may be used of what was captured, by its hash; nothing is made of it yet."""
    digest, calls = hashlib.sha256(), 0
    for tenant_id, _, feature, user_hash, own, *score in sorted_.calls():
        counts[f"{_SEEN}all calls"] += 1
        if why := usable.why_not(Whose(tenant_id, feature, user_hash)):
            counts[f"{_SEEN}{why}"] += 1
            continue
        calls += 1
        if score[0] is None:
            counts[f"{_SEEN}calls without scores"] += 1
        digest.update(own)
        digest.update(msgspec.msgpack.encode(score))
    return Source(
        tenants=tuple(sorted(recipe.consent.tenants)),
        since_us=window.since_us,
        until_us=window.until_us,
        calls=calls,
        digest=digest.hexdigest(),
    )


class _Usable:
    """The calls that everybody agreed to, as operations."""

    def __init__(self, consent: Consent, gone: frozenset[tuple[str, str]]) -> None:
        self._consent, self._gone = consent, gone

    def why_not(self, whose: Whose) -> Reason | None:
        """Why a call may not be used."""
        return without_consent(whose, self._consent, erased=self._gone)

    def operations(self, sorted_: Sorter, counts: Counter[str]) -> Iterator[list[Attempt]]:
        """One operation after the other, those with nothing usable left out."""
        for _, rows in groupby(sorted_.operations(), key=lambda row: row[:2]):
            attempts = list(self._attempts(rows, counts))
            if attempts:
                counts["operations read"] += 1
                yield attempts

    def _attempts(self, rows: Iterator[tuple[Any, ...]], counts: Counter[str]) -> Iterator[Attempt]:
        before = None
        for tenant_id, _, event_key, feature, user_hash, raw, failed, checked, judge in rows:
            if self.why_not(Whose(tenant_id, feature, user_hash)) is not None:
                continue
            if event_key == before:
                counts[f"calls left out: {Reason.DUPLICATE}"] += 1
                continue
            before = event_key
            score = None if checked is None else Score(failed=tuple(failed), checked=tuple(checked), judge=judge)
            attempt = read(io.text_of(raw), score)
            if isinstance(attempt, Unreadable):
                counts[f"calls left out: {Reason.UNREADABLE}"] += 1
            else:
                yield attempt


def _put(operation: list[Attempt], put: Candidates, *, recipe: Recipe, held: Held, counts: Counter[str]) -> None:
    """What an operation gives, unless it leaks."""
    for one in made(operation, recipe):
        if isinstance(one, Left):
            counts[f"{one.kind} left out: {one.reason}"] += 1
        elif held.leaks(one.asks):
            counts[f"{one.kind} left out: {Reason.LEAKED}"] += 1
        else:
            put.add(one)


def _drop(sorted_: Sorter, recipe: Recipe) -> None:
    """Duplicates, then near ones, then what is over a limit."""
    sorted_.drop((other for _, other in duplicates.heads(sorted_.exact())), Reason.DUPLICATE)
    threshold = recipe.duplicates.threshold
    if threshold < 1:
        alike = sorted_.signatures(duplicates.heads(sorted_.bands()))
        sorted_.drop((other for _, other, one, two in alike if _similar(one, two) >= threshold), Reason.NEAR_DUPLICATE)
    for kind, quota in _quotas(sorted_.counts(), recipe).items():
        sorted_.drop(balance.over(sorted_.groups(kind), quota), Reason.OVER_LIMIT)


def _similar(one: bytes, other: bytes) -> float:
    return duplicates.similarity(np.frombuffer(one, dtype=np.uint32), np.frombuffer(other, dtype=np.uint32))


def _quotas(counts: list[tuple[str, str, int]], recipe: Recipe) -> dict[str, dict[str, int]]:
    by_kind: dict[str, dict[str, int]] = {}
    for kind, group, rows in counts:
        by_kind.setdefault(kind, {})[group] = rows
    if recipe.kind == "eval":
        return {kind: balance.quotas(groups, recipe.strata.rows) for kind, groups in by_kind.items()}
    if recipe.balance is None:
        return {}
    rule = recipe.balance
    return {kind: dict.fromkeys(groups, balance.limit(groups, rule)) for kind, groups in by_kind.items()}


def file_of(kind: str, side: str) -> str:
    """The file a row is written to."""
    return {CHAT: f"{side}.jsonl", PREFERENCE: f"preferences.{side}.jsonl", EVAL: "eval.jsonl", PAIR: "pairs.csv"}[kind]


def _expected(recipe: Recipe) -> list[str]:
    """Files that are there even if nothing is in them."""
    if recipe.kind != "finetune":
        return [file_of(EVAL if recipe.kind == "eval" else PAIR, "")]
    kinds = (CHAT, PREFERENCE) if recipe.preferences is not None else (CHAT,)
    return [file_of(kind, side) for kind in kinds for side in recipe.split.parts]


def _write(sorted_: Sorter, folder: Path, *, recipe: Recipe) -> tuple[FileFacts, ...]:
    """The files and the index."""
    rows = dict.fromkeys(_expected(recipe), 0)
    for name in rows:
        (folder / name).write_bytes(header(recipe.router) + b"\n" if name.endswith(".csv") else b"")
    with (folder / INDEX).open("wb") as index:
        for (kind, side), found in groupby(sorted_.lines(), key=lambda row: row[:2]):
            name = file_of(kind, side)
            with (folder / name).open("ab") as file:
                for _, _, line, about in found:
                    rows[name] += 1
                    file.write(line + b"\n")
                    place = msgspec.json.encode({"file": name, "row": rows[name]})
                    index.write(place[:-1] + b"," + about[1:] + b"\n")
    rows[INDEX] = sum(rows.values())
    return tuple(versions.facts(folder / name, rows=count) for name, count in sorted(rows.items()))


def _count(sorted_: Sorter, counts: Counter[str], *, files: tuple[FileFacts, ...]) -> None:
    for kind, reason, number in sorted_.reasons():
        counts[f"{kind} left out: {reason}"] += number
    for file in files:
        if file.path != INDEX:
            counts[f"rows written: {file.path}"] += file.rows
