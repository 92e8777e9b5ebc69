"""The controls: what the tiers do just now, and how to make one slow, faulty or deaf while it runs."""

from urllib.parse import unquote

import msgspec

from serving.simulator import wire
from serving.simulator.config import Change
from serving.simulator.server import Listener, Reply, Request
from serving.simulator.tier import RunningTier
from serving.simulator.wire import Json


class Control:
    """`GET /tiers`, `POST /tiers/NAME` with a Change."""

    def __init__(self) -> None:
        self._tiers: dict[str, tuple[RunningTier, Listener]] = {}

    def add(self, running: RunningTier, listener: Listener) -> None:
        """One more tier to control."""
        self._tiers[running.tier.name] = (running, listener)

    def ports(self) -> dict[str, int]:
        """Tier → port."""
        return {name: listener.port for name, (_, listener) in self._tiers.items()}

    async def __call__(self, request: Request, reply: Reply) -> None:
        """Answer one request."""
        name = unquote(request.path.removeprefix("/tiers/"))
        if request.method == "GET" and request.path == "/tiers":
            _send(reply, {name: self._state(name) for name in self._tiers}, status=200)
        elif request.method != "POST" or name not in self._tiers:
            known = ", ".join(self._tiers)
            message = f"{request.method} {request.path}: there is GET /tiers and POST /tiers/NAME; tiers are {known}"
            _send(reply, wire.error(message, "invalid_request_error"), status=404)
        else:
            await self._change(name, request.body, reply=reply)

    async def _change(self, name: str, body: bytes, *, reply: Reply) -> None:
        running, listener = self._tiers[name]
        try:
            change = msgspec.json.decode(body, type=Change)
        except msgspec.DecodeError as error:
            _send(reply, wire.error(str(error), "invalid_request_error"), status=400)
            return
        running.change(change)
        if change.listening is True:
            await listener.open()
        elif change.listening is False:
            listener.close()
        _send(reply, self._state(name), status=200)

    def _state(self, name: str) -> Json:
        running, listener = self._tiers[name]
        return {
            "port": listener.port,
            "listening": listener.listening,
            "active": running.active,
            "waiting": running.waiting,
            "served": running.served,
            "slowdown": running.slowdown,
            "faults": {fault.value: share for fault, share in running.faults.items()},
        }


def _send(reply: Reply, body: Json, *, status: int) -> None:
    reply.send(status, wire.encode(body), headers=(("content-type", "application/json"),))
