"""`python -m serving.simulator` as a command: what it refuses, the prompts it makes, and the canned upstream."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from serving.simulator.answering import prompts
from serving.simulator.canned import CHUNKS
from serving.simulator.process import started

_COMMAND = [sys.executable, "-m", "serving.simulator"]


def _ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.slow
def test_a_wrong_configuration_ends_it_with_a_sentence(tmp_path: Path) -> None:
    config = tmp_path / "tiers.toml"
    config.write_text("[[tiers]]\nname = 'a'\nmodels = ['m']\nslots = 0\n")
    done = _ended("--config", str(config))
    assert done.returncode == 2
    assert done.stderr == f"simulator: {config}: tier 'a': slots is 0; it must be 1 or more - at `$.tiers[0]`\n"


def test_a_port_that_is_taken_ends_it_with_a_sentence(tmp_path: Path) -> None:
    config = tmp_path / "tiers.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(f"[[tiers]]\nname = 'a'\nmodels = ['m']\nport = {port}\n")
        done = _ended("--config", str(config))
    assert done.returncode == 2
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_prompts_are_printed_a_line_each_and_the_same_for_the_same_seed() -> None:
    done = _ended("--prompts", "5", "--seed", "9")
    assert [json.loads(line)["prompt"] for line in done.stdout.splitlines()] == [
        one.prompt for one in prompts(5, seed=9)
    ]


@pytest.mark.slow
def test_the_canned_upstream_is_one_the_sdk_understands(tmp_path: Path) -> None:
    with started("--canned", "0", log=tmp_path / "log") as (_, ports):
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{ports['canned']}/v1", api_key="none", max_retries=0)
        whole = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}])
        stream = client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "x"}], stream=True
        )
        chunks = list(stream)
        client.close()
    assert whole.usage is not None
    assert whole.usage.total_tokens == 96
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) == CHUNKS
    assert chunks[-1].usage == whole.usage
