"""The gateway's HTTP surface: what answers a request. Paths here, the life of a call in `operation`."""

import ipaddress
from typing import Final

import msgspec

from ledger.observing import logger
from serving.gateway import metrics
from serving.gateway.answer import Answer
from serving.gateway.deadlines import now_s
from serving.gateway.errors import refused
from serving.gateway.incoming import Incoming, body_of
from serving.gateway.operation import Operation, unknown_model
from serving.gateway.records import Refusal
from serving.gateway.requests import read
from serving.gateway.service import Gateway

log = logger("serving.gateway")

_CALLS: Final = {"/v1/chat/completions": "chat", "/v1/embeddings": "embeddings"}
_MODELS: Final = "/v1/models"
_TEXT: Final = ((b"content-type", b"text/plain; charset=utf-8"),)
_METRICS: Final = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)
_OTHER: Final = "other"
_CLIENT_GONE: Final = 499


class App:
    """What `serving.gateway.server` hands each request to."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, incoming: Incoming) -> None:
        """One request."""
        answer = Answer(incoming)
        try:
            api = _CALLS.get(incoming.path)
            if api is not None and incoming.method == "POST":
                await self._call(incoming, answer, api=api)
            else:
                await self._other(incoming, answer)
        except Exception:
            log.exception("a request failed", extra={"facts": {"request_id": incoming.request_id}})
            if not answer.status:  # else its connection is closed, since it has no end
                what = "the gateway failed; the request id tells its log where"
                await answer.refuse(refused(500, what, code="internal"))

    async def _call(self, incoming: Incoming, answer: Answer, *, api: str) -> None:
        gateway = self._gateway
        body = body_of(incoming)
        began_s = now_s()
        asked = read(body, api) if isinstance(body, bytes) else body
        if isinstance(asked, Refusal):
            await answer.refuse(asked)
            return
        await Operation(gateway, incoming, answer=answer, asked=asked, api=api).run()
        route = asked.model if asked.model in gateway.configuration.routes else _OTHER
        metrics.requests(route, answer.status or _CLIENT_GONE).inc()
        metrics.request_seconds(route).observe(now_s() - began_s)

    async def _other(self, incoming: Incoming, answer: Answer) -> None:
        path = incoming.path
        if path in _CALLS:
            await _wrong_method(incoming, answer, allowed="POST")
        elif path == _MODELS or path.startswith(_MODELS + "/"):
            await self._models(incoming, answer)
        elif path in {"/healthz", "/readyz", "/metrics"}:
            await self._own(incoming, answer)
        else:
            await answer.refuse(
                refused(404, f"Unknown request URL: {incoming.method} {path[:256]}", code="unknown_url")
            )

    async def _own(self, incoming: Incoming, answer: Answer) -> None:
        """How the process is."""
        if incoming.method not in {"GET", "HEAD"}:
            await _wrong_method(incoming, answer, allowed="GET, HEAD")
        elif incoming.path == "/healthz":
            await answer.whole(200, b"ok\n", headers=_TEXT)
        elif incoming.path == "/readyz":
            why_not = self._gateway.not_ready()
            await answer.whole(503 if why_not else 200, f"{why_not or 'ready'}\n".encode(), headers=_TEXT)
        elif self._gateway.configuration.listen.metrics_for_all or _is_local(incoming.peer.address):
            await answer.whole(200, metrics.page(), headers=_METRICS)
        else:
            await answer.refuse(refused(403, "metrics are for this machine; see listen.metrics_for_all"))

    async def _models(self, incoming: Incoming, answer: Answer) -> None:
        """The models a caller may name."""
        if incoming.method not in {"GET", "HEAD"}:
            await _wrong_method(incoming, answer, allowed="GET, HEAD")
            return
        gateway = self._gateway
        wanted = incoming.path[len(_MODELS) + 1 :] if incoming.path != _MODELS else ""
        admitted = gateway.admission.admit(
            authorization=incoming.authorization, api="models", model=wanted, feature=None
        )
        if isinstance(admitted, Refusal):
            await answer.refuse(admitted)
            return
        answer.headers += admitted.headers
        routes = gateway.configuration.routes
        listed = [
            {"id": name, "object": "model", "created": route.created_s, "owned_by": route.owned_by}
            for name, route in routes.items()
            if (not wanted or name == wanted) and _may_see(name, admitted.models)
        ]
        if wanted and not listed:
            await answer.refuse(unknown_model(wanted, "anything"))
            return
        body = listed[0] if wanted else {"object": "list", "data": listed}
        await answer.whole(200, msgspec.json.encode(body))


def _may_see(name: str, models: tuple[str, ...] | None) -> bool:
    return models is None or any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in models)


async def _wrong_method(incoming: Incoming, answer: Answer, *, allowed: str) -> None:
    refusal = refused(405, f"{incoming.method} {incoming.path}: use {allowed}", code="method_not_allowed")
    headers = ((b"allow", allowed.encode()), *refusal.headers)
    await answer.refuse(msgspec.structs.replace(refusal, headers=headers))


def _is_local(address: str | None) -> bool:
    return not address or ipaddress.ip_address(address).is_loopback
