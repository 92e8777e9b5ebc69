"""Names, places and organisations by a model, through Presidio's NLP engines: spaCy, Stanza, transformers.

`TOKENLEDGER_LAKE_RECOGNISERS=ledger.lake.redaction.engines:presidio` and, in `TOKENLEDGER_LAKE_NLP`, a file as Presidio
documents it. No model comes with the product, and none is ever fetched: one that is not there stops the archive.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from ledger.lake.redaction.finding import Finding, Recogniser

SETTING: Final = "TOKENLEDGER_LAKE_NLP"
ENTITIES: Final = frozenset({"PERSON", "LOCATION", "ORGANIZATION", "NRP"})
"""What a model is believed about, by Presidio's names; dates and amounts have a form, and patterns look for them."""
PIECE_CHARS: Final = 20_000
"""A model is given so much at a time: what it needs of memory grows with its text."""
OVERLAP_CHARS: Final = 400
"""Longer than a name."""


def presidio() -> Recogniser:
    """The engine that the file in `TOKENLEDGER_LAKE_NLP` names. Raises ValueError where there is none."""
    named = os.environ.get(SETTING)
    if not named:
        raise ValueError(f"{SETTING} is not set; the file of an NLP engine, as Presidio documents it, would be right")
    return of_engine(_engine(Path(named)))


def of_engine(engine: Any, *, entities: Collection[str] = ENTITIES) -> Recogniser:
    """What an NLP engine of Presidio's finds, in every language it has a model for."""

    def found(text: str) -> Iterator[Finding]:
        for first in range(0, max(len(text) - OVERLAP_CHARS, 1), PIECE_CHARS - OVERLAP_CHARS):
            piece = text[first : first + PIECE_CHARS]
            for language in engine.get_supported_languages():
                made = engine.process_text(piece, language)
                for span, score in zip(made.entities, made.scores, strict=True):
                    if span.label_ in entities:
                        yield Finding(span.start_char + first, span.end_char + first, span.label_, float(score))

    return found


def _engine(path: Path) -> Any:
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    try:
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
        models = [str(one["model_name"]) for one in stated["models"] if isinstance(one["model_name"], str)]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        message = f"{path}: {type(error).__name__} {error}; `nlp_engine_name` and `models` would be right"
        raise ValueError(message) from None
    if stated.get("nlp_engine_name") == "spacy":
        _are_there(models, path)
    return NlpEngineProvider(nlp_configuration=stated).create_engine()


def _are_there(models: list[str], path: Path) -> None:
    """Presidio would fetch a missing one from the network."""
    import spacy

    for name in models:
        if not spacy.util.is_package(name) and not Path(name).exists():
            raise ValueError(f"{path}: model {name!r} is not installed; install it first, nothing is fetched by itself")
