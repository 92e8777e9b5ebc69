"""`python -m serving.gateway --config FILE`: the gateway as a process."""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import uvicorn
import uvloop

from feature_repo.online import OnlineReader
from feature_repo.settings import RedisSettings
from ledger.observing import logger
from serving.cache.front import open_cache
from serving.gateway import books
from serving.gateway.app import App
from serving.gateway.caching import Seat, rules_of
from serving.gateway.configuration import MILLIS_PER_SECOND, ConfigurationError
from serving.gateway.health import FeatureMemory
from serving.gateway.server import protocol_of
from serving.gateway.service import Gateway, Source, load

log = logger("serving.gateway")

_LOOK_EVERY_S: Final = 1.0
_BACKLOG: Final = 4_096


class Server(uvicorn.Server):
    """uvicorn, with signals left to the process that has more to end than it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None."""
        yield


def server_of(gateway: Gateway) -> Server:
    """The HTTP server of a gateway."""
    configuration = gateway.configuration
    # What strangers send it is no warning of ours; a failed request is logged by the application.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        App(gateway),
        host=configuration.listen.host,
        port=configuration.listen.port,
        http=protocol_of(lambda: gateway.configuration.limits, gateway.deadlines),  # type: ignore[arg-type]  # any callable
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=max(configuration.limits.idle_ms // MILLIS_PER_SECOND, 1),
        timeout_graceful_shutdown=max(configuration.drain.shutdown_ms // MILLIS_PER_SECOND, 1),
    )
    return Server(config)


async def serve(gateway: Gateway, path: Path) -> None:
    """Answer until told to end, then let the calls in flight finish."""
    server, source = server_of(gateway), Source(path, gateway)

    def stop() -> None:
        gateway.stopping = True
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: source.check(anyway=True))
    watching = loop.create_task(_watch(source, gateway))
    try:
        await server.serve()
        # Calls that outlived the patience were cancelled; each still has its outcome to tell.
        await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
    finally:
        watching.cancel()
        gateway.fleet.close()


async def _watch(source: Source, gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        source.check()
        gateway.fleet.sweep()
        if gateway.capturing is not None:
            gateway.capturing.look()
        if gateway.router is not None:
            await asyncio.to_thread(gateway.router.refresh)


async def run(path: Path) -> None:
    """The whole process."""
    configuration = load(path)
    reader = OnlineReader(RedisSettings.from_environment(os.environ, user="gateway"))
    async with books.opened(books.BooksSettings.from_environment(os.environ)) as opened:
        gateway = Gateway(configuration, accounting=opened.accounting, admission=opened.admission, ready=opened.ready)
        gateway.texts_folder = opened.folder
        gateway.capture()
        features = FeatureMemory(reader.read, lambda: gateway.configuration, more_models=gateway.router_models)
        gateway.features = features
        log.info("configuration read", extra={"facts": {"routes": list(configuration.routes)}})
        await reader.start(within_s=0)
        refreshing = asyncio.create_task(features.run())
        keep_what_is_loaded()
        try:
            async with caching(gateway):
                await serve(gateway, path)
        finally:
            gateway.stop_capturing()
            refreshing.cancel()
            await reader.close()


@contextlib.asynccontextmanager
async def caching(gateway: Gateway) -> AsyncIterator[None]:
    """The gateway with its cache, where the configuration has one."""
    settings = gateway.configuration.cache
    if settings is None:
        yield
        return
    cache = open_cache(settings, rules_of(gateway.configuration))
    await cache.start()
    gateway.caching = Seat(cache)
    try:
        yield
    finally:
        await gateway.caching.close()
        await cache.close()


def allow_clients() -> None:
    """Each client is a file."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))


def keep_what_is_loaded() -> None:
    """What is loaded by now stays, so the collector need not look at it; of the rest it looks at little at a time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)


def main() -> int:
    """Exit status: 0 when told to end, 2 for a configuration that is none."""
    parser = argparse.ArgumentParser(prog="python -m serving.gateway", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file: docs/gateway_configuration.md")
    asked = parser.parse_args()
    allow_clients()
    try:
        uvloop.run(run(asked.config))
    except ConfigurationError as error:
        sys.stderr.write(f"{asked.config}: {error}\n")
        return 2
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
