"""OpenLineage events: of the published shape, to a file or to an endpoint, and never in the way of a build."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest

from tests.dags.captured import lake_of, talk
from tokenledger.cli import main

pytestmark = pytest.mark.slow

FACET: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["_producer", "_schemaURL"],
    "properties": {"_producer": {"type": "string", "format": "uri"}, "_schemaURL": {"type": "string", "format": "uri"}},
}
FACETS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": FACET}


def _named(**more: Any) -> dict[str, Any]:
    properties = {"namespace": {"type": "string"}, "name": {"type": "string"}, "facets": FACETS} | more
    return {
        "type": "object",
        "required": ["namespace", "name"],
        "properties": properties,
        "additionalProperties": False,
    }


def _with(name: str, **facets: dict[str, Any]) -> dict[str, Any]:
    return {name: {"type": "object", "additionalProperties": FACET, "properties": facets}}


STATISTICS: Final = FACET | {"properties": {name: {"type": "integer"} for name in ("rowCount", "size", "fileCount")}}
EVENT: Final = jsonschema_rs.Draft202012Validator(
    {
        "type": "object",
        "required": ["eventType", "eventTime", "run", "job", "inputs", "outputs", "producer", "schemaURL"],
        "additionalProperties": False,
        "properties": {
            "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
            "eventTime": {"type": "string", "format": "date-time"},
            "producer": {"type": "string", "format": "uri"},
            "schemaURL": {"type": "string", "format": "uri"},
            "run": {
                "type": "object",
                "required": ["runId"],
                "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": FACETS},
                "additionalProperties": False,
            },
            "job": _named(),
            "inputs": {"type": "array", "items": _named(**_with("inputFacets"))},
            "outputs": {"type": "array", "items": _named(**_with("outputFacets", outputStatistics=STATISTICS))},
        },
    },
    validate_formats=True,
)
"""What the specification says of a run event and of the base of every facet, in words of our own."""


def build(folder: Path, *, to: str, lake: str = "lake") -> int:
    """A dataset, told to somebody."""
    (folder / "recipe.toml").write_text('name = "made"\n[consent]\ntenants = ["acme"]\n')
    words = ["datasets", "build", str(folder / "recipe.toml"), "--lake", str(folder / lake), "--lineage", to]
    return main([*words, "--datasets", str(folder / "datasets")])


def test_a_build_is_told_by_two_events_of_the_published_shape(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(10)))

    assert build(tmp_path, to=str(tmp_path / "lineage.jsonl")) == 0

    start, complete = [json.loads(line) for line in (tmp_path / "lineage.jsonl").read_text().splitlines()]
    for event in (start, complete):
        EVENT.validate(event)
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    [made] = complete["outputs"]
    assert made["name"] == "made"
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 10
    assert made["facets"]["version"]["datasetVersion"]
    assert [one["name"] for one in complete["inputs"]] == ["texts"]


def test_a_build_that_fails_says_why(tmp_path: Path) -> None:
    assert build(tmp_path, to=str(tmp_path / "lineage.jsonl"), lake="nothing") == 2

    _, failed = [json.loads(line) for line in (tmp_path / "lineage.jsonl").read_text().splitlines()]
    EVENT.validate(failed)
    assert failed["eventType"] == "FAIL"
    assert "there is no lake" in failed["run"]["facets"]["errorMessage"]["message"]
    assert failed["outputs"] == []


def test_a_user_is_not_named_when_they_are_erased(tmp_path: Path) -> None:
    lake_of(tmp_path / "lake", list(talk(10)))
    build(tmp_path, to=str(tmp_path / "lineage.jsonl"))

    main(["datasets", "erase", "--tenant", "acme", "--user-hash", "user-1", "--datasets", str(tmp_path / "datasets"),
          "--lineage", str(tmp_path / "lineage.jsonl")])  # fmt: skip

    assert "user-1" not in (tmp_path / "lineage.jsonl").read_text()


def test_events_go_to_an_endpoint_too(tmp_path: Path) -> None:
    told: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    lake_of(tmp_path / "lake", list(talk(4)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        assert build(tmp_path, to=f"http://127.0.0.1:{server.server_port}") == 0
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert [path for path, _ in told] == ["/api/v1/lineage"] * 2
    assert [event["eventType"] for _, event in told] == ["START", "COMPLETE"]
    for _, event in told:
        EVENT.validate(event)


def test_a_dataset_is_made_although_nobody_hears_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake_of(tmp_path / "lake", list(talk(4)))

    assert build(tmp_path, to="http://127.0.0.1:9") == 0
    assert "COMPLETE was not told to" in capsys.readouterr().err
