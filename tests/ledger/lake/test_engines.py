"""A model beside the patterns: Presidio's own engine over a spaCy pipeline made here, so that nothing is fetched."""

from pathlib import Path
from typing import Any

import pytest
import spacy

from ledger.lake.redaction import Redactor, engines
from ledger.lake.redaction.engines import OVERLAP_CHARS, PIECE_CHARS
from ledger.lake.redaction.finding import Recogniser
from tests.ledger.lake.labelled import labelled, scores
from tokenledger.texts import Conversation

pytestmark = pytest.mark.slow

NAMED = {
    "PERSON": ["Marie Dubois", "John Carter", "Siobhan Murphy"],
    "LOC": ["12 rue de la Paix, 75002 Paris", "44 Elm Street, Springfield"],
    "DATE": ["yesterday"],
}
CONFIG = """
nlp_engine_name: spacy
models:
  - {{lang_code: en, model_name: "{model}"}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that knows these and nothing else."""
    pipeline = spacy.blank("en")
    ruler: Any = pipeline.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": one} for label, names in NAMED.items() for one in names])
    path = tmp_path_factory.mktemp("model") / "names"
    pipeline.to_disk(path)
    return path


@pytest.fixture
def recogniser(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recogniser:
    """As the archive makes it."""
    file = tmp_path / "nlp.yaml"
    file.write_text(CONFIG.format(model=model), encoding="utf-8")
    monkeypatch.setenv(engines.SETTING, str(file))
    return engines.presidio()


def test_a_named_engine_hides_names_and_places_beside_what_patterns_find(recogniser: Recogniser) -> None:
    said = "Marie Dubois (marie@example.fr) moved to 44 Elm Street, Springfield yesterday. Marie Dubois is well."
    done = Redactor([recogniser]).redact(Conversation(messages=[{"role": "user", "content": said}]))
    assert done.conversation.messages[0]["content"] == (
        "<PERSON_1> (<EMAIL_ADDRESS_1>) moved to <LOCATION_1> yesterday. <PERSON_1> is well."
    )
    assert done.counts == {"EMAIL_ADDRESS": 1, "LOCATION": 1, "PERSON": 2}


def test_recall_and_precision_are_measured_with_it(recogniser: Recogniser) -> None:
    without, with_it = scores(Redactor(), labelled()), scores(Redactor([recogniser]), labelled())
    assert without["PERSON"].recall == 0
    assert with_it["PERSON"].hidden == 3
    assert with_it["PERSON"].precision == 1
    for entity in without.keys() - {"PERSON", "ADDRESS"}:
        assert with_it[entity].recall >= without[entity].recall


def test_a_name_on_the_edge_of_two_pieces_is_found_and_one_far_down_where_it_stands(recogniser: Recogniser) -> None:
    for before in (PIECE_CHARS - 6, PIECE_CHARS - OVERLAP_CHARS - 6, 3 * PIECE_CHARS):
        text = "x " * (before // 2) + "John Carter" + " y" * 500
        at = text.index("John")
        assert {(one.start, one.end, one.entity) for one in recogniser(text)} == {(at, at + 11, "PERSON")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CONFIG.format(model="en_core_web_never"), "'en_core_web_never' is not installed; .* nothing is fetched"),
        ("nlp_engine_name: spacy\n", "`nlp_engine_name` and `models` would be right"),
        ("[", "`nlp_engine_name` and `models` would be right"),
    ],
)
def test_an_engine_that_is_not_there_is_said_and_never_fetched(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nlp.yaml"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv(engines.SETTING, str(file))
    with pytest.raises(ValueError, match=said):
        engines.presidio()
    monkeypatch.delenv(engines.SETTING)
    with pytest.raises(ValueError, match=f"{engines.SETTING} is not set"):
        engines.presidio()
