"""The published contracts are fresh, complete and never break what was published before."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas import asyncapi, compat, gen, headers
from schemas.json_schema import record_schema, record_types
from schemas.meanings import field_meanings, member_rows
from tokenledger.normalise.envelope import Envelope
from tokenledger.records import Anomaly, PricedCall, RawEvent, Reason, Rejected
from tokenledger.records.meters import METERS
from tokenledger.records.topics import TOPICS

ROOT = Path(gen.__file__).parent
PUBLISHED = sorted(folder for folder in gen.COMPAT.iterdir() if folder.name != "messages")
RECORDS = [*record_types(PricedCall), *record_types(Envelope), Rejected, RawEvent]


def test_the_committed_contracts_are_what_the_records_say() -> None:
    assert gen.stale_files() == [], f"make them fresh with: {gen.COMMAND}"


def test_a_stale_contract_is_named_with_the_command_that_mends_it(tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    for path, text in gen.generated_files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "FIELDS.md").write_text("something else")
    (folder / "json" / "left_over.schema.json").write_text("{}")
    assert gen.stale_files(folder) == ["FIELDS.md", "json/left_over.schema.json"]


@pytest.mark.slow
def test_the_check_command_answers_with_its_status() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "schemas.gen", "--check"], cwd=ROOT.parent, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_a_record_has_a_sentence(record: type) -> None:
    meanings = field_meanings(record)
    undocumented = [name for name in record.__annotations__ if not meanings.get(name, "").endswith((".", "…", "`"))]
    assert undocumented == []


def test_every_reason_and_anomaly_says_what_it_means() -> None:
    for enum in (Reason, Anomaly):
        assert [value for value, meaning in member_rows(enum) if not meaning.endswith(".")] == []


def test_the_glossary_names_every_field_meter_reason_anomaly_header_and_topic() -> None:
    page = (ROOT / "FIELDS.md").read_text()
    names = {
        *(name for record in RECORDS for name in record.__annotations__),
        *METERS,
        *Reason,
        *Anomaly,
        *(header.name for header in headers.RAW_HEADERS),
        *headers.rejected_headers_schema()["properties"],
        *(topic.name for topic in TOPICS),
    }
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_every_header_that_is_read_is_in_the_contract() -> None:
    sources = [file.read_text() for file in (ROOT.parent / "tokenledger").rglob("*.py")]
    read = {name for source in sources for name in re.findall(r'"(ce_[a-z]+)"', source)}
    assert "ce_tenantid" in read
    assert read - {header.name for header in headers.RAW_HEADERS} == set()


def test_descriptions_and_units_reach_the_json_schema() -> None:
    schema = json.loads((ROOT / "json" / "priced_call.schema.json").read_text())
    cost = schema["properties"]["cost_usd_pico"]
    assert cost["x-unit"] == "10⁻¹² USD"
    assert cost["description"].startswith("What the call cost")
    assert cost["anyOf"][0] == {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    assert schema["$defs"]["Latency"]["properties"]["ttft_us"]["description"] == "Start to first token."
    assert sorted(schema["required"]) == ["call", "price_status"]


def test_the_asyncapi_document_points_only_at_what_is_there() -> None:
    document = yaml.safe_load((ROOT / "asyncapi.yaml").read_text())
    assert list(document["channels"]) == [topic.name for topic in TOPICS]
    for pointer in references(document):
        file, _, fragment = pointer.partition("#")
        if file:
            assert (ROOT / file).is_file(), pointer
        else:
            assert at(document, fragment) is not None, pointer
    read_and_written = {
        (operation["action"], operation["channel"]["$ref"]) for operation in document["operations"].values()
    }
    wanted = {(action, f"#/channels/{topic.name}") for topic in TOPICS for action in ("send", "receive")}
    assert read_and_written == wanted


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [found for name, part in node.items() for found in ([part] if name == "$ref" else references(part))]
    return [found for part in node for found in references(part)] if isinstance(node, list) else []


def at(document: Any, fragment: str) -> Any:
    for step in fragment.strip("/").split("/"):
        document = document[step]
    return document


def test_every_local_reference_in_a_schema_leads_somewhere() -> None:
    for text in gen.schema_files().values():
        schema = json.loads(text)
        assert all(at(schema, pointer.removeprefix("#")) for pointer in references(schema))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_what_was_published_is_not_altered(folder: Path) -> None:
    assert compat.altered(folder) == []


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_the_current_schemas_break_nothing_that_was_published(folder: Path) -> None:
    current = gen.schema_files()
    broken = [
        what
        for name in sorted(current)
        if (folder / name).exists()
        for what in compat.breaks((folder / name).read_text(), current[name])
    ]
    assert broken == [], "make it nullable and new, or make a new version and topic"
    assert {file.name for file in folder.glob("*.json")} <= current.keys()


def test_a_published_version_cannot_be_published_again(tmp_path: Path) -> None:
    compat.publish({"call.schema.json": "{}"}, tmp_path / "0.1.0")
    with pytest.raises(ValueError, match=r"0\.1\.0 is published already; raise the version"):
        compat.publish({"call.schema.json": "{}"}, tmp_path / "0.1.0")


def test_an_altered_missing_or_added_file_of_a_published_version_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "0.1.0"
    compat.publish({"a.json": "1", "b.json": "2", "c.json": "3"}, folder)
    assert compat.altered(folder) == []
    (folder / "a.json").write_text("4")
    (folder / "b.json").unlink()
    (folder / "d.json").write_text("5")
    assert compat.altered(folder) == ["a.json", "b.json", "d.json"]


def _changed(change: Any) -> list[str]:
    old = record_schema(PricedCall)
    new = json.loads(json.dumps(old))
    change(new)
    return compat.breaks(json.dumps(old), json.dumps(new))


def test_a_new_nullable_field_and_a_better_sentence_break_nothing() -> None:
    def change(schema: dict[str, Any]) -> None:
        schema["properties"]["fresh"] = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
        schema["properties"]["topic"]["description"] = "Better words."

    assert _changed(change) == []


def test_a_removed_retyped_or_newly_required_field_breaks_readers() -> None:
    def change(schema: dict[str, Any]) -> None:
        del schema["properties"]["rank"]
        schema["properties"]["offset"]["type"] = "string"
        schema["required"].append("latency")
        schema["$defs"]["Line"]["required"].remove("quantity")

    assert [what.partition(" from ")[0] for what in _changed(change)] == [
        "PricedCall: latency is required now",
        "PricedCall: rank is gone",
        "PricedCall: offset changed",
        "PricedCall.Line: quantity is no longer required, so readers may miss it",
    ]


def test_a_closed_list_may_grow_and_may_not_shrink() -> None:
    def schema(*reasons: str) -> str:
        return json.dumps({"title": "Rejected", "properties": {"reason": {"type": "string", "enum": reasons}}})

    assert compat.breaks(schema("empty"), schema("empty", "fresh")) == []
    assert compat.breaks(schema("empty", "fresh"), schema("empty")) != []


def test_the_document_generator_knows_a_message_for_every_topic() -> None:
    assert asyncapi._MESSAGES.keys() == {topic.name for topic in TOPICS}
