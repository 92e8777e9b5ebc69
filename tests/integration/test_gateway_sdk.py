"""OpenAI's own SDKs, unmodified, against the simulator and against the gateway before it: they see the same.

The simulator alone shows that the cases hold for an OpenAI-compatible server; the gateway must change nothing of it.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from infra.local.place import REPO
from serving.simulator.process import Fleet
from tests.integration import gateways
from tests.integration.sdk import cases

_TIERS = """
[[tiers]]
name = "quick"
models = ["gpt-4o-mini", "text-embedding-3-small"]
api_key = "simulated"
slots = 64
ttft_us_p50 = 2_000
tpot_us_p50 = 200
stall_us = 3_000_000
"""
_NODE_SDK, _OLD_SDK = "openai@6.49.0", "openai==1.109.1"
_CASES = Path(cases.__file__).parent


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something an SDK is pointed at."""

    name: str
    url: str
    key: str
    fleet: Fleet

    def client(self, **options: Any) -> openai.OpenAI:
        """The SDK as installed here."""
        return openai.OpenAI(base_url=self.url, api_key=self.key, **{"max_retries": 0, **options})


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Endpoint]]:
    # A breaker that opens would hide from one case what another has broken on purpose.
    with gateways.alone(_TIERS, tmp_path_factory.mktemp("sdk"), extra=_NO_BREAKER) as (gateway, fleet, key):
        yield {
            "simulator": Endpoint("simulator", fleet.url("quick"), "simulated", fleet),
            "gateway": Endpoint("gateway", gateway.url, key, fleet),
        }


_NO_BREAKER = """
breaker = { failures = 1_000_000, ratio = 1.0, window = 1_000 }
retries = { attempts = 1 }
"""


@pytest.fixture(params=["simulator", "gateway"])
def endpoint(request: pytest.FixtureRequest, endpoints: dict[str, Endpoint]) -> Endpoint:
    return endpoints[request.param]


_EXPECTED = {
    "whole": ["Answer: 42. made there some new", "length", 17],
    "streamed": ["Answer: 42. made there some new", 17, True],
    "tool": ["weather", {"city": "What is 12 + 30?"}, "tool_calls"],
    "embedded": [[8, 8], 3],
    "models": ["gpt-4o-mini", "text-embedding-3-small"],
    "errors": ["AuthenticationError", "NotFoundError", "BadRequestError", "InternalServerError"],
    "asynchronous": ["Answer: 42. made there some new", "Answer: 42. made there some new"],
}


def test_todays_python_sdk_sees_what_it_should(endpoint: Endpoint) -> None:
    assert _seen(Path(sys.executable), _CASES / "cases.py", endpoint) == _EXPECTED


def test_an_older_python_sdk_sees_the_same(endpoint: Endpoint) -> None:
    assert _seen(_old_python(), _CASES / "cases.py", endpoint) == _EXPECTED


def test_the_node_sdk_sees_the_same(endpoint: Endpoint) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed; with it, `npm` fetches the SDK into .local")
    expected = {name: seen for name, seen in _EXPECTED.items() if name != "asynchronous"}
    assert _seen(Path(node), _node_cases(), endpoint) == expected


def _seen(interpreter: Path, script: Path, endpoint: Endpoint) -> Any:
    done = subprocess.run(
        [str(interpreter), str(script), endpoint.url, endpoint.key],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _old_python() -> Path:
    """An interpreter with the older SDK, made once."""
    folder = REPO / ".local" / "venv-openai1"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        uv = os.environ.get("UV") or shutil.which("uv")
        assert uv, "uv is not on the path; `make setup` installs it"
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True, timeout=60)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(python), _OLD_SDK], check=True, timeout=120)
        (folder / "complete").touch()
    return python


def _node_cases() -> Path:
    """The Node cases beside the SDK, which Node looks for from where a script lies; fetched once."""
    folder = REPO / ".local" / "node-openai"
    if not (folder / "complete").exists():
        npm = shutil.which("npm")
        assert npm, "npm is not on the path, though node is; install both"
        command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent", _NODE_SDK]
        subprocess.run(command, check=True, timeout=180)
        (folder / "complete").touch()
    return Path(shutil.copy(_CASES / "cases.mjs", folder))


# What only today's SDK is asked


def _chunks(endpoint: Endpoint, **fields: Any) -> list[ChatCompletionChunk]:
    return list(endpoint.client().chat.completions.create(**cases.ASKED | fields, stream=True))


def test_a_streamed_tool_call_has_the_arguments_of_the_whole_one(endpoint: Endpoint) -> None:
    chunks = _chunks(endpoint, tools=cases.TOOLS)
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert calls[0].id
    assert calls[0].function is not None
    assert calls[0].function.name == "weather"
    assert {call.index for call in calls} == {0}
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    assert json.loads(arguments) == {"city": "What is 12 + 30?"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_several_choices_come_one_by_one_and_in_one_stream(endpoint: Endpoint) -> None:
    whole = endpoint.client().chat.completions.create(**cases.ASKED, n=3)
    texts = dict.fromkeys(range(3), "")
    for chunk in _chunks(endpoint, n=3):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == {choice.index: choice.message.content for choice in whole.choices}


def test_structured_output_is_parsed_by_the_sdk(endpoint: Endpoint) -> None:
    schema = {"name": "place", "schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    form: Any = {"type": "json_schema", "json_schema": schema}
    answer = endpoint.client().chat.completions.create(**cases.ASKED, response_format=form)
    assert json.loads(answer.choices[0].message.content or "") == {"city": "42"}


def test_a_field_nobody_knows_is_passed_on(endpoint: Endpoint) -> None:
    answer = endpoint.client().chat.completions.create(**cases.ASKED, extra_body={"none_of_ours": {"deep": [1]}})
    assert answer.choices[0].finish_reason == "length"


def test_an_embedding_is_the_same_in_numbers_and_in_base64(endpoint: Endpoint) -> None:
    client = endpoint.client()
    given: Any = {"model": cases.EMBEDDER, "input": "sea", "dimensions": 16}
    numbers = client.embeddings.create(**given, encoding_format="float").data[0].embedding
    decoded = client.embeddings.create(**given).data[0].embedding
    assert decoded == pytest.approx(numbers, abs=1e-6)


def test_a_model_is_found_by_name_and_another_is_not(endpoint: Endpoint) -> None:
    assert endpoint.client().models.retrieve(cases.MODEL).id == cases.MODEL
    with pytest.raises(openai.NotFoundError):
        endpoint.client().models.retrieve("none-such")


def test_an_error_says_what_is_wrong_and_where(endpoint: Endpoint) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        endpoint.client().chat.completions.create(**cases.ASKED | {"max_tokens": -1})
    assert raised.value.param == "max_tokens"
    assert raised.value.type == "invalid_request_error"
    assert raised.value.request_id


def test_a_path_that_is_none_is_a_clean_404(endpoint: Endpoint) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        endpoint.client().responses.create(model=cases.MODEL, input="hello")
    assert raised.value.type == "invalid_request_error"


def test_a_rate_limit_is_retried_by_the_sdk_as_often_as_it_is_told(endpoint: Endpoint) -> None:
    before = len(endpoint.fleet.journal())
    with pytest.raises(openai.RateLimitError) as raised:
        endpoint.client(max_retries=2).chat.completions.create(**cases.ASKED, metadata={"simulate": "rate_limited"})
    assert raised.value.code == "rate_limit_exceeded"
    endpoint.fleet.wait_until_idle()
    assert len(endpoint.fleet.journal()) - before == 3


def test_an_upstream_out_of_quota_looks_like_one(endpoint: Endpoint) -> None:
    with pytest.raises(openai.RateLimitError) as raised:
        endpoint.client().chat.completions.create(**cases.ASKED, metadata={"simulate": "out_of_quota"})
    assert raised.value.code == "insufficient_quota"


def test_a_caller_that_waits_no_longer_gets_its_sdks_timeout(endpoint: Endpoint) -> None:
    with pytest.raises(openai.APITimeoutError):
        endpoint.client(timeout=0.5).chat.completions.create(**cases.ASKED, metadata={"simulate": "slow_headers"})


def test_a_stream_that_breaks_is_an_error_and_what_came_before_is_kept(endpoint: Endpoint) -> None:
    stream = endpoint.client().chat.completions.create(
        **cases.ASKED, stream=True, metadata={"simulate": "error_in_200"}
    )
    seen: deque[str | None] = deque()  # keeps what came before an error; a list would not
    with pytest.raises(openai.APIError, match="error while processing"):
        seen.extend(chunk.choices[0].delta.content for chunk in stream)
    assert "Answer:" in seen


def test_a_broken_stream_through_the_gateway_ends_in_an_error_not_in_silence(endpoints: dict[str, Endpoint]) -> None:
    for fault in ("closed_mid_body", "truncated_stream"):
        with pytest.raises(openai.APIError):
            _chunks(endpoints["gateway"], metadata={"simulate": fault})


def test_two_hundred_callers_at_once_are_all_answered(endpoint: Endpoint) -> None:
    async def ask(client: openai.AsyncOpenAI, number: int) -> str:
        if number % 2:
            answer = await client.chat.completions.create(**cases.ASKED)
            return answer.choices[0].message.content or ""
        stream = await client.chat.completions.create(**cases.ASKED, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of_them() -> set[str]:
        async with openai.AsyncOpenAI(base_url=endpoint.url, api_key=endpoint.key, max_retries=0) as client:
            return set(await asyncio.gather(*(ask(client, number) for number in range(200))))

    assert asyncio.run(all_of_them()) == {"Answer: 42. made there some new"}
