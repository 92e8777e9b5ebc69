"""A gateway process with a cache before a simulated model: hits as the ledger reads them, a kill survived."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.gateway import epochs
from serving.gateway.shipping import EpochShipper
from tests.integration.gateways import Alone, alone
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall

TIERS = """
[[tiers]]
name = "small"
models = ["gpt-4o-mini"]
slots = 50
ttft_us_p50 = 20_000
tpot_us_p50 = 1_000
output_tokens_p50 = 20
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Alone]:
    with alone(TIERS, tmp_path, extra=f'cache.folder = "{tmp_path / "cache"}"') as gateway:
        with (tmp_path / "gateway.toml").open("a", encoding="utf-8") as file:
            file.write('[routes."gpt-4o-mini".cache]\nexact = true\n')
        deadline = time.monotonic() + 20
        while not gateway.gateway.metric("tokenledger_gateway_config_reloads_total"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield gateway


def _asked(served: Alone, text: str, **more: Any) -> tuple[str, bytes]:
    """What the answer says of the cache, and the answer."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], "temperature": 0} | more
    headers = {"authorization": f"Bearer {served.key}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{served.gateway.port}/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - http
        return reply.headers["x-tokenledger-cache"], reply.read()


def _calls(folder: Path) -> list[PricedCall]:
    """What the ledger is told of every epoch's calls, in the end."""
    found: list[PricedCall] = []
    for epoch in epochs.listed(folder / "outbox"):
        shipper = EpochShipper(epoch, keep_s=0)
        for _ in range(100):
            if shipper.ended:
                break
            made = [process(shipment.raw, default_context()) for shipment in shipper.next()]
            found += [one for one in made if isinstance(one, PricedCall) and one.call.status != "in_progress"]
            shipper.acknowledged()
        shipper.close()
    return found


def test_plain_and_streamed_hits_are_calls_that_cost_nothing_and_a_kill_takes_no_answer(
    served: Alone, tmp_path: Path
) -> None:
    first, whole = _asked(served, "What is a quine?")
    again, same = _asked(served, "What is a quine?")
    streamed, events = _asked(served, "What is a quine?", stream=True)
    time.sleep(1)  # written
    served.gateway.kill()
    served.gateway.start()
    deadline = time.monotonic() + 10
    while not served.gateway.metric("tokenledger_cache_answer_records"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    after, survived = _asked(served, "What is a quine?")
    served.gateway.stop()

    assert first == "miss; reason=unknown"
    assert all(told.startswith("hit; kind=exact; ") for told in (again, streamed, after))
    answers = [json.loads(one)["choices"][0]["message"]["content"] for one in (whole, same, survived)]
    assert answers[0] == answers[1] == answers[2]
    parts = [json.loads(line[6:]) for line in events.splitlines() if line.startswith(b"data: {")]
    assert "".join(part["choices"][0]["delta"].get("content") or "" for part in parts) == answers[0]

    calls = _calls(tmp_path)
    made = [one for one in calls if not one.call.cache_hit]
    hits = [one for one in calls if one.call.cache_hit]
    assert len(made) == 1
    assert len(hits) == 3
    assert {one.cost_usd_pico for one in hits} == {0}
    assert {one.saved_usd_pico for one in hits} == {made[0].cost_usd_pico}
    assert len({one.call.response_id for one in calls}) == 4
    assert [one.call.stream for one in hits].count(True) == 1
