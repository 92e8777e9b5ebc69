"""OpenLineage run events of a dataset build: what went in, what came out, with the public dataset facets. Pure.

Shapes follow the specification: https://openlineage.io/spec/2-0-2/OpenLineage.json and its facets.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from dags.core.manifest import FileFacts, Manifest, Source

NAMESPACE: Final = "tokenledger"
PRODUCER: Final = "https://github.com/tokenledger/tokenledger"
_SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS: Final = "https://openlineage.io/spec/facets"
_RUNS: Final = uuid.UUID("5f0c1a52-8f2b-5c7e-9d55-6a1b3c6f2d10")
"""Name space of run ids, so that a repeated build of one version at one time is one run."""
_US: Final = 1_000_000


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one job."""

    job: str
    """What was done: `datasets.build`, `datasets.erase`, `datasets.golden`."""
    dataset: str
    """For which dataset."""
    at_us: int
    """When it began, µs UTC."""

    @property
    def id(self) -> str:
        """A UUID that the same job, dataset and instant always have."""
        return str(uuid.uuid5(_RUNS, f"{self.job}/{self.dataset}/{self.at_us}"))


def started(run: Run) -> dict[str, Any]:
    """It began."""
    return _event("START", run, at_us=run.at_us, inputs=[], outputs=[])


def failed(run: Run, at_us: int, *, why: str) -> dict[str, Any]:
    """It failed, and nothing came out."""
    message = _facet("1-0-1/ErrorMessageRunFacet.json", message=why, programmingLanguage="Python")
    event = _event("FAIL", run, at_us=at_us, inputs=[], outputs=[])
    return event | {"run": event["run"] | {"facets": {"errorMessage": message}}}


def completed(run: Run, at_us: int, *, lake: str, datasets: str, manifest: Manifest | None) -> dict[str, Any]:
    """It made this version, or found it there; None where there was nothing to make one of."""
    if manifest is None:
        return _event("COMPLETE", run, at_us=at_us, inputs=[], outputs=[])
    inputs = [] if manifest.source is None else [_texts(lake, manifest.source)]
    inputs += [_named(datasets, name, version=version) for name, version in sorted(manifest.against.items())]
    if manifest.growth is not None:
        inputs.append(_named(datasets, manifest.name, version=manifest.growth.parent))
    return _event("COMPLETE", run, at_us=at_us, inputs=inputs, outputs=[_made(datasets, manifest)])


def _event(
    kind: str, run: Run, *, at_us: int, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    job_type = _facet(
        "2-0-3/JobTypeJobFacet.json", processingType="BATCH", integration="TOKENLEDGER", jobType="COMMAND"
    )
    return {
        "eventType": kind,
        "eventTime": _instant(at_us),
        "run": {"runId": run.id},
        "job": {"namespace": NAMESPACE, "name": f"{run.job}.{run.dataset}", "facets": {"jobType": job_type}},
        "inputs": list(inputs),
        "outputs": list(outputs),
        "producer": PRODUCER,
        "schemaURL": _SCHEMA,
    }


def _instant(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / _US, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _facet(schema: str, **facts: Any) -> dict[str, Any]:
    name = schema.rpartition("/")[2].removesuffix(".json")
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}/{schema}#/$defs/{name}"} | facts


def _texts(lake: str, source: Source) -> dict[str, Any]:
    return {
        "namespace": f"file://{lake}",
        "name": "texts",
        "facets": {"version": _facet("1-0-1/DatasetVersionDatasetFacet.json", datasetVersion=source.digest)},
        "inputFacets": {
            "dataQualityMetrics": _facet(
                "1-0-2/DataQualityMetricsInputDatasetFacet.json", rowCount=source.calls, columnMetrics={}
            )
        },
    }


def _named(datasets: str, name: str, *, version: str) -> dict[str, Any]:
    version_facet = _facet("1-0-1/DatasetVersionDatasetFacet.json", datasetVersion=version)
    return {"namespace": f"file://{datasets}", "name": name, "facets": {"version": version_facet}}


def _made(datasets: str, manifest: Manifest) -> dict[str, Any]:
    """The version: its schema, its size, who may be asked, that it is new."""
    found = _named(datasets, manifest.name, version=manifest.version)
    fields = [{"name": name, "type": kind} for name, kind in _COLUMNS[manifest.kind]]
    found["facets"] |= {
        "schema": _facet("1-1-1/SchemaDatasetFacet.json", fields=fields),
        "tokenledger_files": {
            "_producer": PRODUCER,
            "_schemaURL": f"{PRODUCER}/blob/main/docs/datasets.md",
            "files": [_file(file) for file in manifest.files],
        },
        "lifecycleStateChange": _facet("1-0-1/LifecycleStateChangeDatasetFacet.json", lifecycleStateChange="CREATE"),
        "storage": _facet("1-0-1/StorageDatasetFacet.json", storageLayer="file", fileFormat="jsonl"),
        "documentation": _facet(
            "1-1-0/DocumentationDatasetFacet.json",
            description=f"{manifest.kind}, rules {manifest.rules}: see card.md",
            contentType="text/plain",
        ),
    }
    statistics = _facet(
        "1-0-2/OutputStatisticsOutputDatasetFacet.json",
        rowCount=manifest.rows,
        size=sum(file.size_bytes for file in manifest.files),
        fileCount=len(manifest.files),
    )
    return found | {"outputFacets": {"outputStatistics": statistics}}


def _file(file: FileFacts) -> dict[str, Any]:
    return {"path": file.path, "rows": file.rows, "size": file.size_bytes, "sha256": file.sha256}


_QUESTION: Final = (("id", "string"), ("messages", "array"), ("tools", "array"), ("reference", "object"))
_COLUMNS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "finetune": (("messages", "array"), ("tools", "array")),
    "eval": (*_QUESTION, *((name, "string") for name in ("feature", "difficulty", "period", "failure"))),
    "golden": (*_QUESTION, ("reviewed_by", "string")),
    "router_pairs": (("prompt", "string"), ("tools", "integer"), ("turns", "integer"), ("group", "string")),
}
"""What a row of each kind has."""
