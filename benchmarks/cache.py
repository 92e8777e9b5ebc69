"""What the caches cost and how often they are wrong: `python -m benchmarks.cache [--data DIR] [--vectors FILE]`.

Without a folder of labelled questions, only what needs none is measured. `--vectors` keeps the questions' vectors for
the next run: they take most of the time.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import threadpoolctl  # type: ignore[import-untyped]

from benchmarks.cache_quality import Vectors, judged
from benchmarks.cache_questions import data_sets, stream
from serving.cache.configuration import CacheSettings, RouteCache
from serving.cache.embedding import Worker
from serving.cache.exact import Kept
from serving.cache.front import Caches
from serving.cache.marks import marks_of
from serving.cache.records import Hit, Miss, Question
from serving.cache.semantic import Asked, Phrasing, Semantic

_TENANT_ROWS: Final = 20_000
_TRIALS: Final = 1_000_000
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOW_US: Final = 1_795_000_000_000_000


def question(text: str, *, tenant_id: str = "t", system: str = "You are a helpful assistant.") -> Question:
    """A request as the gateway reads it."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    body = json.dumps({"model": "chat", "messages": messages, "temperature": 0, "max_tokens": 256})
    return Question(tenant_id=tenant_id, app="p/f", route="chat", model_policy="v1", operation_id=text,
                    members=_members.decode(body), at_us=_NOW_US)  # fmt: skip


def reply(text: str) -> bytes:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80}
    return json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
                       "usage": usage}).encode()  # fmt: skip


def _now(cache: Caches, one: Question) -> Hit | Miss:
    """A look-up that waits for nothing."""
    coroutine = cache.look_up(one)
    try:
        coroutine.send(None)
    except StopIteration as done:
        found: Hit | Miss = done.value
        return found
    raise AssertionError("it waited")


def _least_us(rounds: int, work: "list[Question]", cache: Caches) -> float:
    """CPU of one look-up: the least of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        began_s = time.process_time()
        for one in work:
            _now(cache, one)
        best = min(best, (time.process_time() - began_s) / len(work) * 1e6)
    return best


async def exact(folder: Path) -> None:
    """The same request again, and one that was never seen."""
    cache = Caches(CacheSettings(folder=str(folder)), {"chat": RouteCache()}, worker=Worker())
    await cache.start()
    await cache.loaded()
    answer = reply("An answer of some sixty tokens, give or take a few. " * 6)
    for chars in (60, 2_000):
        asked = [question(f"{number} {'word ' * (chars // 5)}") for number in range(2_000)]
        misses = [found for one in asked if isinstance(found := _now(cache, one), Miss)]
        missed_us = _least_us(3, asked, cache)
        began_s = time.process_time()
        for missed in misses:
            cache.offer(missed, answer, provider="openai", model="gpt-4o")
        offered_us = (time.process_time() - began_s) / len(misses) * 1e6
        hit_us = _least_us(8, asked, cache)
        print(f"exact, question of {chars:5} characters: hit {hit_us:5.1f} µs, "
              f"miss {missed_us:5.1f} µs with the rules, keeping an answer {offered_us:5.1f} µs")  # fmt: skip
    await cache.close()


async def crossing(folder: Path) -> None:
    """Answers name their place; nobody gets another one's."""
    settings = CacheSettings(folder=str(folder), tenant_entries=100_000)
    cache = Caches(settings, {"chat": RouteCache()}, worker=Worker())
    await cache.start()
    await cache.loaded()
    draw = random.Random(7)
    asked = {
        (tenant, system, text): question(f"Question {text}?", tenant_id=f"tenant {tenant}", system=f"You are {system}.")
        for tenant in range(50) for system in range(4) for text in range(50)
    }  # fmt: skip
    places = list(asked)
    hits = wrong = 0
    for number in range(_TRIALS):
        place = draw.choice(places)
        found = _now(cache, asked[place])
        mine = f"of tenant {place[0]} and {place[1]} and {place[2]}"
        if isinstance(found, Hit):
            hits += 1
            wrong += f'"{mine}"'.encode() not in found.reply
        else:
            cache.offer(found, reply(mine), provider="openai", model="gpt-4o")
        if number % 10_000 == 0:
            await asyncio.sleep(0)
    await cache.close()
    print(f"crossing: {_TRIALS:,} random look-ups of 50 tenants, 4 prompts, 50 questions: {hits:,} hits, "
          f"{wrong} of them another tenant's, prompt's or question's")  # fmt: skip


def _filled(rows: int) -> tuple[Semantic, Asked]:
    draw = np.random.default_rng(3)
    made = draw.normal(size=(rows, 384)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    semantic = Semantic(384, tenant_rows=rows)
    marks = marks_of("How do I reset my password?")
    for number, row in enumerate(made):
        name = str(number)
        kept = Kept(name, "t", "chat", name.encode(), "", b"", "p", "m", _NOW_US)
        semantic.add(Phrasing(name, "t", b"p", name, marks, _NOW_US), row, kept=kept)
    return semantic, Asked("t", "chat", b"p", "How do I reset my password?", _NOW_US, 0.5, 0)


async def semantic() -> None:
    """One question against 20,000 of its partition: embedding and scan in the thread, and what the loop feels."""
    filled, asked = _filled(_TENANT_ROWS)
    worker = Worker()
    rules = RouteCache(semantic=True)
    texts = [f"How do I reset the password of my account number {number} again?" for number in range(300)]
    await worker.embed(texts[:2])
    scans: list[float] = []

    def meet(vectors: object) -> None:
        assert isinstance(vectors, np.ndarray)
        began_s = time.thread_time()
        filled.meet(asked, vectors[0], rules=rules, draw=lambda: 1.0)
        scans.append(time.thread_time() - began_s)

    idle, pauses = list[float](), list[float]()
    watching = asyncio.create_task(_watch(idle))
    await asyncio.sleep(3)
    watching.cancel()
    watching = asyncio.create_task(_watch(pauses))
    times: list[float] = []
    cpu_s = time.process_time()
    for text in texts:
        began_s = time.perf_counter()
        await worker.run([text], meet, whole=True)
        times.append(time.perf_counter() - began_s)
    cpu_s = (time.process_time() - cpu_s) / len(texts)
    watching.cancel()
    worker.close()
    p50, p99 = np.percentile(np.array(times) * 1e3, [50, 99])
    print(f"semantic, {_TENANT_ROWS:,} entries of one partition, question of 13 tokens: "
          f"CPU {cpu_s * 1e3:.1f} ms (scan, guards and decision {np.median(scans) * 1e3:.2f} ms), "
          f"p50 {p50:.1f} ms, p99 {p99:.1f} ms")  # fmt: skip
    for what, found in (("before", idle), ("meanwhile", pauses)):
        late = np.array(found) * 1e3
        print(f"event loop {what}, a timer of 1 ms: late by p50 {np.percentile(late, 50):.2f} ms, "
              f"p99 {np.percentile(late, 99):.2f} ms, most {late.max():.2f} ms")  # fmt: skip


async def _watch(pauses: list[float]) -> None:
    while True:
        began_s = time.perf_counter()
        await asyncio.sleep(0.001)
        pauses.append(time.perf_counter() - began_s - 0.001)


def quality(data: Path, vectors: Vectors, most: int) -> None:
    """Labelled questions with traps: hits, wrong ones, and the same for a fixed threshold."""
    for name, questions in data_sets(data):
        draw = random.Random(5)
        draw.shuffle(questions)
        chosen = questions[:most]
        mixed = stream(chosen, traps=len(chosen) // 10, seed=7)
        print(f"\n{name}: {len(mixed):,} questions, {len({one.answer for one in mixed}):,} answers, "
              f"{sum(one.kind != 'plain' for one in mixed):,} traps")  # fmt: skip
        vectors.make([one.text for one in mixed])
        for line in judged(mixed, vectors):
            print(f"  {line}")


def main() -> int:
    """All of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with intents/ and cache_pairs/")
    parser.add_argument("--vectors", type=Path, help="file that keeps the vectors between runs (.npz)")
    parser.add_argument("--questions", type=int, default=6_000, help="most questions of a set (default: %(default)s)")
    parser.add_argument("--quality-only", action="store_true", help="leave out what needs no questions")
    asked = parser.parse_args()
    # As the gateway's process has it.
    sys.setswitchinterval(0.000_5)
    if not asked.quality_only:
        for part in (exact, crossing):
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(part(Path(folder)))
        asyncio.run(semantic())
    if asked.data is not None:
        # As the cache's thread has it: two threads of BLAS on busy cores wait for each other.
        with threadpoolctl.threadpool_limits(1):
            quality(asked.data, Vectors(asked.vectors), asked.questions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
