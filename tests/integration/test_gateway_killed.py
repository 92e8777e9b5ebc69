"""A gateway killed under load, with neither Kafka nor Flink behind it: what its outbox has for whoever ships it."""

import asyncio
import time
from collections import Counter
from pathlib import Path

from serving.gateway import epochs
from serving.gateway.shipping import EpochShipper, Shipment
from tests.integration.callers import Callers
from tests.integration.gateways import Alone, alone
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall

_TIERS = """
[[tiers]]
name = "small"
models = ["gpt-4o-mini"]
slots = 200
ttft_us_p50 = 40_000
tpot_us_p50 = 4_000
output_tokens_p50 = 30
"""
_ENDS = {"outcome", "closing"}


def _shipped(outbox: Path) -> list[Shipment]:
    """All that a shipper finds, of every epoch to its end; their gateways are dead."""
    found: list[Shipment] = []
    for folder in epochs.listed(outbox):
        shipper = EpochShipper(folder, keep_s=0)
        deadline = time.monotonic() + 30
        while not shipper.ended and time.monotonic() < deadline:
            found += shipper.next()
            shipper.acknowledged(at_once=True)
        assert shipper.ended
        shipper.close()
    return found


def _killed_twice(one: Alone, callers: Callers) -> None:
    async def load_and_kill() -> None:
        loading = asyncio.create_task(callers.load(seconds=12, callers=30))
        for _ in range(2):
            await asyncio.sleep(3)
            await asyncio.to_thread(one.gateway.kill)
            await asyncio.to_thread(one.gateway.start)
        await loading
        await asyncio.to_thread(one.gateway.kill)

    asyncio.run(load_and_kill())


def test_each_intent_has_one_end_and_each_request_that_reached_an_upstream_an_intent(tmp_path: Path) -> None:
    with alone(_TIERS, tmp_path, extra="retries = { attempts = 1 }\n") as one:
        callers = Callers(one.gateway.url, one.key, name="killed")
        _killed_twice(one, callers)
        one.fleet.wait_until_idle()
        reached = Counter(entry.user for entry in one.fleet.journal() if entry.user)
        shipped = _shipped(tmp_path / "outbox")
    ids: dict[str, list[bytes]] = {"intent": [], "end": []}
    for shipment in shipped:
        ids["end" if shipment.kind in _ENDS else shipment.kind].append(shipment.raw.headers["ce_id"])
    assert Counter(ids["end"]) == Counter(ids["intent"])
    assert set(Counter(ids["intent"]).values()) == {1}
    priced = [call for one_of in shipped if one_of.kind in _ENDS
              if isinstance(call := process(one_of.raw, default_context()), PricedCall)]  # fmt: skip
    ended = Counter(call.call.user_id for call in priced)
    assert {user: ended[user] for user in reached} == reached
    told = {sent.user: sent.usage for sent in callers.journal if sent.complete and sent.usage}
    assert len(told) > 20
    known = {call.call.user_id: call.call.raw_usage for call in priced}
    assert {user: known[user] for user in told} == told, "an answer that was told is charged with its own usage"
