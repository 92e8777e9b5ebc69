"""The gateway's HTTP surface against its OpenAPI document: what the document says holds, and nothing else is there."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from infra.local.place import REPO
from tests.integration import gateways
from tests.integration.gateways import Alone

_DOCUMENT = REPO / "serving" / "gateway" / "openapi.yaml"
_TIERS = """
[[tiers]]
name = "quick"
models = ["gpt-4o-mini", "text-embedding-3-small"]
ttft_us_p50 = 100
tpot_us_p50 = 10
output_tokens_p50 = 3
"""
schema = schemathesis.openapi.from_path(_DOCUMENT)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with gateways.alone(_TIERS, tmp_path_factory.mktemp("surface")) as found:
        yield found


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_comes_the_answer_is_one_the_document_allows(case: schemathesis.Case[Any], alone: Alone) -> None:
    """Requests that fit and requests that do not; half of the fitting ones name a model that is there."""
    model = case.body.get("model") if isinstance(case.body, dict) else None
    if isinstance(case.body, dict) and isinstance(model, str) and len(model) in range(1, 256, 2):
        case.body["model"] = "text-embedding-3-small" if "embeddings" in case.path else "gpt-4o-mini"
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{alone.gateway.port}",
        headers={"authorization": f"Bearer {alone.key}"},
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            response_headers_conformance,
            negative_data_rejection,
            unsupported_method,
        ],
    )


def _asked(alone: Alone, method: str, path: str, *, key: str | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", alone.gateway.port, timeout=5)
    try:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def test_every_path_of_the_document_is_there_and_no_other_method_of_it(alone: Alone) -> None:
    paths = yaml.safe_load(_DOCUMENT.read_text())["paths"]
    for path, methods in paths.items():
        status, headers, _ = _asked(alone, "DELETE", path.replace("{model}", "gpt-4o-mini"), key=alone.key)
        assert (path, status) == (path, 405)
        assert {method.upper() for method in methods} <= set(headers["allow"].split(", ")) <= {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/responses", "/v1/completions", "/v1/chat/completions/x", "/v2/models"]
)
def test_any_other_path_is_a_404_with_an_error_object(alone: Alone, path: str) -> None:
    status, headers, body = _asked(alone, "GET", path, key=alone.key)
    assert status == 404
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert headers["x-request-id"]


@pytest.mark.parametrize("key", [None, "", "wrong", "tl-" + "x" * 43, "x" * 8_000])
def test_without_a_key_that_is_known_nothing_is_told(alone: Alone, key: str | None) -> None:
    status, _, body = _asked(alone, "GET", "/v1/models", key=key)
    assert status == 401
    assert json.loads(body)["error"]["code"] == "invalid_api_key"
    assert b"gpt-4o-mini" not in body
