"""`python -m serving.router.service`: decisions over gRPC, as a process."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

from feature_repo.online import OnlineReader, ReadPolicy
from feature_repo.settings import RedisSettings
from ledger.observing import Pulse, logger, serve
from serving.router.current import Current
from serving.router.policy import PolicyError
from serving.router.service.server import Service

log = logger("serving.router.service")

_STOP_WITHIN_S: Final = 5.0
_ALIVE_WITHIN_S: Final = 10.0
_READ_WITHIN_S: Final = 0.004
_BEAT_S: Final = 1.0


def main() -> int:
    """Exit status: 0 when told to end, 2 for a policy that is none."""
    parser = argparse.ArgumentParser(prog="python -m serving.router.service", description=(__doc__ or "").strip())
    parser.add_argument("--policy", type=Path, required=True, help="the router's policy; docs/routing.md")
    parser.add_argument("--models", type=Path, required=True, help="folder of the router's models")
    parser.add_argument("--listen", default="127.0.0.1:28110", help="host and port (default: %(default)s)")
    asked = parser.parse_args()
    try:
        current = Current(asked.policy, asked.models)
    except (PolicyError, OSError) as error:
        sys.stderr.write(f"{asked.policy}: {error}\n")
        return 2
    asyncio.run(_run(current, asked.listen))
    log.info("stopped")
    return 0


async def _run(current: Current, address: str) -> None:
    pulse = Pulse(_ALIVE_WITHIN_S)
    metrics_port = os.environ.get("TOKENLEDGER_METRICS_PORT")
    serve(int(metrics_port) if metrics_port else None, pulse)
    redis = RedisSettings.from_environment(os.environ, user="gateway")
    reader = OnlineReader(redis, ReadPolicy(deadline_s=_READ_WITHIN_S))
    await reader.start(within_s=0)
    service = Service(current, reader.read)
    port = await service.start(address)
    log.info("serving", extra={"facts": {"port": port, "routes": list(current.policy.routes)}})
    following = asyncio.create_task(service.follow())
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        while not (ended.is_set() or following.done()):
            pulse.beat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _BEAT_S)
        if following.done():
            following.result()  # it never ends by itself: whatever did it is raised here
    finally:
        following.cancel()
        await service.stop(_STOP_WITHIN_S)
        await reader.close()


if __name__ == "__main__":
    sys.exit(main())
