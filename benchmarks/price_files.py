"""How many calls a second one core prices from a file, against a bare decode of the same lines.

usage: price_files.py [--calls N] [--trace FILE.csv] [--format table|jsonl] [--keep FILE]

The calls follow the shape of the Azure LLM inference trace: lognormal token counts (or the ones of --trace, a CSV with
ContextTokens and GeneratedTokens), 50 Zipf tenants, 20 features, 10 models, 5 % duplicates.
"""

import argparse
import csv
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate, cycle, islice
from pathlib import Path
from typing import Any

import msgspec

MODELS = (
    ("openai", "gpt-4o-mini"), ("openai", "gpt-4o"), ("openai", "gpt-4.1"), ("openai", "gpt-4.1-mini"),
    ("openai", "gpt-5"), ("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-3-5-haiku-latest"),
    ("gcp.gemini", "gemini-2.5-flash"), ("mistral_ai", "mistral-small-latest"), ("groq", "llama-3.1-8b-instant"),
)  # fmt: skip
START_US = 1_764_547_200_000_000  # 2025-12-01, inside every model's price dates
SPREAD_US = 6 * 3600 * 1_000_000
DUPLICATES = 0.05


def main() -> None:
    """Make the file, time both, print the ratio."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.keep or Path(folder, "calls.jsonl"))
        if not path.exists():
            write_calls(path, options.calls, options.trace)
        lines = sum(1 for _ in path.open("rb"))
        decode_s = _cpu_s([sys.executable, "-c", _BARE, str(path)])
        command = [sys.executable, "-m", "tokenledger.cli", "price", str(path), "--format", options.format, "--quiet"]
        price_s = _cpu_s([*command, "--out", str(Path(folder, "out"))])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{lines:,} records, {options.format}: {price_s:.1f} s CPU, {lines / price_s:,.0f} calls/s a core")
    print(f"bare decode of the same lines: {decode_s:.1f} s CPU; ratio {price_s / decode_s:.1f}")
    print(f"peak resident memory of the larger of the two: {peak / 2**20:,.0f} MiB")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--format", choices=("table", "jsonl"), default="table")
    parser.add_argument("--keep", type=Path)
    return parser.parse_args()


_BARE = """
import sys, msgspec
decode = msgspec.json.Decoder().decode
for line in open(sys.argv[1], "rb"):
    decode(line)
"""


def _cpu_s(command: list[str]) -> float:
    """CPU seconds of a child, so that other load on the machine does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_calls(path: Path, calls: int, trace: Path | None) -> None:
    """A file of call envelopes as structured CloudEvents."""
    rng = random.Random(7)
    tenants = list(accumulate(1 / rank for rank in range(1, 51)))
    started_s = time.perf_counter()
    recent: list[bytes] = []
    with path.open("wb") as file:
        for number, (input_tokens, output_tokens) in enumerate(islice(_tokens(rng, trace), calls)):
            if recent and rng.random() < DUPLICATES:
                file.write(rng.choice(recent))
                continue
            tenant = rng.choices(range(50), cum_weights=tenants)[0]
            line = _line(rng, number, tenant, START_US + SPREAD_US * number // calls, input_tokens, output_tokens)
            file.write(line)
            recent = [*recent[-15:], line]
    print(f"made {path} in {time.perf_counter() - started_s:.0f} s: {path.stat().st_size / calls:.0f} bytes a call")


def _tokens(rng: random.Random, trace: Path | None) -> Iterator[tuple[int, int]]:
    if trace is not None:
        with trace.open(newline="") as file:
            rows = [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]
        yield from cycle(rows)
    while True:
        yield 1 + int(rng.lognormvariate(6.8, 1.0)), 1 + int(rng.lognormvariate(5.0, 0.9))


_encode = msgspec.json.encode


def _line(rng: random.Random, number: int, tenant: int, at_us: int, input_tokens: int, output_tokens: int) -> bytes:
    provider, model = MODELS[number % len(MODELS)]
    cached = input_tokens // 2 if rng.random() < 0.5 else 0
    reply = _reply(provider)(f"{rng.getrandbits(96):024x}", model, input_tokens, output_tokens, cached)
    event = {
        "specversion": "1.0", "id": f"{rng.getrandbits(64):016x}", "source": "bench", "type": "llm.call.v1",
        "time": "2025-12-01T00:00:00Z", "tenantid": f"tenant-{tenant:02}",
        "data": {
            "provider": provider, "request_model": model, "response": reply, "started_at_us": at_us,
            "ended_at_us": at_us + output_tokens * 20_000, "feature": f"feature-{rng.randrange(20):02}",
        },
    }  # fmt: skip
    return _encode(event) + b"\n"


def _reply(provider: str) -> Any:
    return {"anthropic": _anthropic, "gcp.gemini": _gemini}.get(provider, _openai)


def _openai(identity: str, model: str, input_tokens: int, output_tokens: int, cached: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{identity}", "object": "chat.completion", "created": START_US // 1_000_000, "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": input_tokens, "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens, "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": output_tokens // 3},
        },
        "service_tier": "default",
    }  # fmt: skip


def _anthropic(identity: str, model: str, input_tokens: int, output_tokens: int, cached: int) -> dict[str, Any]:
    return {
        "id": f"msg_{identity}", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": input_tokens - cached, "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0, "output_tokens": output_tokens, "service_tier": "standard",
        },
    }  # fmt: skip


def _gemini(identity: str, model: str, input_tokens: int, output_tokens: int, cached: int) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"role": "model", "parts": []}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": input_tokens, "candidatesTokenCount": output_tokens,
            "totalTokenCount": input_tokens + output_tokens, "cachedContentTokenCount": cached,
        },
        "modelVersion": model, "responseId": identity,
    }  # fmt: skip


if __name__ == "__main__":
    main()
