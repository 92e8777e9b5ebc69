"""What a configuration may say, and what is said about one that may not be."""

import asyncio
from pathlib import Path

import pytest

from serving.gateway import reference
from serving.gateway.configuration import ConfigurationError, configuration_of
from serving.gateway.deadlines import Deadlines
from serving.gateway.fleet import Fleet
from serving.gateway.service import Gateway, Source
from tests.serving.running import Memory, config

GOOD = config(a=8001, b=8002)

CASCADED = (
    config(a=8001, b=8002)
    .replace("[upstreams.a]\n", '[upstreams.a]\ntier = "small"\n')
    .replace("[upstreams.b]\n", '[upstreams.b]\ntier = "large"\n')
    .replace("[upstreams.a]", '[router]\npolicy_file = "router.toml"\n[upstreams.a]', 1)
    + '[routes.m.cascade]\npolicy = "chat"\n'
)

BAD: dict[str, tuple[str, str]] = {
    "unknown section": (GOOD + "[colour]\nx = 1", "unknown field `colour`; known there are listen, limits"),
    "unknown field": ("limits.body = 1\n" + GOOD, "unknown field `body` - at `limits`; known there are head_bytes"),
    "wrong type": (
        'limits.body_bytes = "1 MB"\n' + GOOD,
        "Expected `int`, got `str`, found '1 MB' - at `limits.body_bytes`",
    ),
    "out of range": ("retries.attempts = 0\n" + GOOD, ">= 1, found 0 - at `retries.attempts`"),
    "unknown upstream field": (GOOD.replace("provider", "provder"), "unknown field `provder` - at `upstreams.a`"),
    "unknown replica field": (GOOD.replace("url", "uri"), "`uri` - at `upstreams.a.replicas[0]`; known there are url"),
    "missing field": (GOOD.replace('provider = "vllm"\n', ""), "required field `provider` - at `upstreams.a`"),
    "unknown upstream": (GOOD.replace('["a", ', '["c", '), "routes.m.upstreams names 'c'; upstreams are: a, b"),
    "an upstream twice": (GOOD.replace('["a", "b"]', '["a", "a"]'), "names one twice"),
    "a host nobody allowed": (
        GOOD.replace("//127.0.0.1:8", "//10.0.0.1:8"),
        "'10.0.0.1' is not in allowed_hosts",
    ),
    "no URL": (GOOD.replace("http://127.0.0.1:8001/v1", "127.0.0.1:8001"), "it must be http://host"),
    "a key in a URL": (GOOD.replace("//127.0.0.1:8001", "//u:p@127.0.0.1:8001"), "keys go in key_file"),
    "a line break in a URL": (GOOD.replace("8001/v1", "8001/v1\\r\\nx: y"), "characters that no URL has"),
    "an unknown API": (GOOD.replace('"embeddings"', '"images"'), "routes.m.apis has 'images'; known are chat"),
    "a header of ours": (
        GOOD.replace("[upstreams.a]\n", '[upstreams.a]\nforward_headers = ["cookie"]\n'),
        "upstreams.a.forward_headers has 'cookie', which is never passed on",
    ),
    "a cascade without a router": (
        CASCADED.replace('[router]\npolicy_file = "router.toml"\n', ""),
        "routes.m.cascade needs [router] with policy_file",
    ),
    "a cascade of upstreams without a tier": (
        CASCADED.replace('tier = "large"\n', ""),
        "routes.m.cascade: upstreams.b has no tier; give it one of the policy's",
    ),
    "a cascade of embeddings": (
        CASCADED.replace('["chat", "embeddings"]', '["embeddings"]'),
        "only `chat` is cascaded, and routes.m.apis lacks it",
    ),
    "a second opinion from elsewhere": (
        CASCADED + 'second_opinion = "c"\n',
        "routes.m.cascade.second_opinion is 'c'; upstreams of the route are: a, b",
    ),
    "a mode nobody knows": (
        CASCADED + 'mode = "verify"\n',
        "found 'verify' - at `routes.m.cascade.mode`",
    ),
    "one attempt for two tiers": (CASCADED + "attempts = 1\n", ">= 2, found 1 - at `routes.m.cascade.attempts`"),
    "an experiment without a cascade": (
        GOOD + '[routes.m.experiment]\nname = "x"\n',
        "routes.m.experiment: there is no [routes.m.cascade] to try",
    ),
    "a control of another tier": (
        CASCADED + '[routes.m.experiment]\nname = "x"\ncontrol_tier = "huge"\n',
        "routes.m.experiment.control_tier is 'huge'; tiers of the route: large, small",
    ),
    "a check nobody knows": (
        CASCADED + "checks.spelling = true\n",
        "unknown field `spelling` - at `routes.m.cascade.checks`",
    ),
    "no TOML": ("x", "not TOML"),
    "upstreams that are a number": ("upstreams = 3", "upstreams is 3; write tables [upstreams.NAME]"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_configuration_is_told_by_place_value_and_remedy(what: str) -> None:
    text, message = BAD[what]
    with pytest.raises(ConfigurationError) as raised:
        configuration_of(text)
    assert message in str(raised.value)


def test_a_key_file_that_is_wrong_is_told(tmp_path: Path) -> None:
    key = tmp_path / "key"
    text = GOOD.replace("[upstreams.a]\n", f'[upstreams.a]\nkey_file = "{key}"\n')
    with pytest.raises(ConfigurationError, match=r"upstreams\.a\.key_file: .*No such file"):
        Fleet(configuration_of(text), Deadlines())
    key.write_text("two words")
    with pytest.raises(ConfigurationError, match="must hold one key") as raised:
        Fleet(configuration_of(text), Deadlines())
    assert "two words" not in str(raised.value)


def gateway(path: Path) -> tuple[Gateway, Source]:
    memory = Memory()
    made = Gateway(configuration_of(path.read_text()), accounting=memory, admission=memory, ready=lambda: True)
    return made, Source(path, made)


def test_a_changed_file_takes_over_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(GOOD)
    made, source = gateway(path)
    server = made.fleet.deployments["a"].servers[0]
    path.write_text("heartbeat_ms = 5\n" + GOOD)
    source.check()
    assert made.configuration.heartbeat_ms == 5
    assert made.fleet.deployments["a"].servers[0] is server, "what did not change keeps its connections"
    path.write_text("heartbeat_ms = 'x'\n" + GOOD)
    source.check()
    path.unlink()
    source.check()
    assert made.configuration.heartbeat_ms == 5


def test_a_key_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    path, key = tmp_path / "gateway.toml", tmp_path / "key"
    key.write_text("first\n")
    path.write_text(GOOD.replace("[upstreams.a]\n", f'[upstreams.a]\nkey_file = "{key}"\n'))
    made, source = gateway(path)
    deployment = made.fleet.deployments["a"]
    assert deployment.key_header == b"authorization: Bearer first\r\n"
    replacement = tmp_path / "new"
    replacement.write_text("second")
    replacement.replace(key)
    source.check()
    assert deployment.key_header == b"authorization: Bearer second\r\n"
    key.write_text("")
    source.check()
    assert deployment.key_header == b"authorization: Bearer second\r\n"


def test_a_line_for_connections_is_fair_and_loses_no_place() -> None:
    async def scenario() -> None:
        text = config(a=1).replace("[upstreams.a]\n", "[upstreams.a]\nconnections = 1\nwaiting = 5\n")
        pool = Fleet(configuration_of(text), Deadlines()).deployments["a"].servers[0].pool
        await pool.enter()
        order: list[int] = []

        async def one(number: int) -> None:
            await pool.enter()
            order.append(number)
            pool.leave()

        tasks = [asyncio.create_task(one(number)) for number in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        pool.leave()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (order, pool.busy) == ([0, 2, 3], 0)

    asyncio.run(scenario())


def test_the_reference_page_is_fresh() -> None:
    assert reference.PAGE.read_text() == reference.page(), "make it fresh with: python -m serving.gateway.reference"
