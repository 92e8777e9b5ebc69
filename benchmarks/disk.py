"""What this disk takes to make a group of intents durable: the least a gateway can add to a request."""

import time
from pathlib import Path

from serving.gateway import epochs

_GROUP, _SYNCS = bytes(4096), 1_000


def disk(folder: Path) -> None:
    """What a sync of one group of intents takes by itself: no gateway that keeps them answers sooner."""
    segment = epochs.new_segment(folder, 0, size=_SYNCS * len(_GROUP))
    took_us = []
    for _ in range(_SYNCS):
        began_s = time.perf_counter()
        segment.write(_GROUP)
        took_us.append(1e6 * (time.perf_counter() - began_s))
        time.sleep(0.002)
    segment.close()
    p50_us, p99_us = sorted(took_us)[_SYNCS // 2], sorted(took_us)[_SYNCS * 99 // 100]
    print(
        f"  a sync of {len(_GROUP)} bytes by itself: p50 {p50_us / 1000:.2f} ms, p99 {p99_us / 1000:.2f} ms", flush=True
    )
