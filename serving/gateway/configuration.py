"""The gateway's configuration: one TOML file, checked as a whole before any of it is used. Pure: text → value."""

import re
import tomllib
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from serving.cache.configuration import CacheSettings, RouteCache
from serving.gateway.cascade_configuration import Cascade, Experiment, RouterFiles

MILLIS_PER_SECOND: Final = 1_000

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
_HEADER: Final = re.compile(r"[a-z0-9-]+")
APIS: Final = ("chat", "embeddings")


class ConfigurationError(Exception):
    """What is wrong, which value, and what would be right."""


class Listen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the gateway answers."""

    host: str = "127.0.0.1"
    """Address to bind."""
    port: Port = 28100
    """Port to bind."""
    metrics_for_all: bool = False
    """Whether `/metrics` answers others than this machine."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller may ask of the gateway itself."""

    head_bytes: Positive = 32_768
    """Largest request line and headers; more is 431."""
    body_bytes: Positive = 10_485_760
    """Largest request body; more is 413."""
    request_ms: Positive = 30_000
    """From the first byte of a request to its last; slower is 408."""
    idle_ms: Positive = 75_000
    """How long a connection may stay open without a request."""
    stalled_ms: Positive = 60_000
    """How long a client may refuse to read before its connection is closed."""
    reply_bytes: Positive = 33_554_432
    """Largest reply that is not streamed; a single event of a stream may have 4 MiB."""
    connections: Positive = 20_000
    """Open client connections; one more is closed at once."""


class Drain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a call goes on after nobody waits for it."""

    abandoned_ms: Count = 10_000
    """After the client has gone: so long the reply is read on for its usage, then the upstream is cancelled."""
    abandoned_bytes: Count = 1_048_576
    """And at most so much of it."""
    shutdown_ms: Positive = 30_000
    """After SIGTERM: so long calls in flight may go on."""


class Retries(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a call is tried again."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=8)] = 3
    """Most attempts of one request, fallbacks included."""
    attempts_per_upstream: Annotated[int, msgspec.Meta(ge=1, le=8)] = 2
    """Most of them at one upstream."""
    statuses: tuple[int, ...] = (429, 502, 503)
    """Replies that say the call was not processed."""
    share: Share = 0.2
    """Retries and fallbacks as a share of requests, over time."""
    burst: Positive = 20
    """Retries that may be made at once before the share binds."""
    longest_wait_ms: Count = 500
    """Longest pause before a replica is tried again; a longer `retry-after` means the next upstream."""


class Breaker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a replica is left alone."""

    failures: Positive = 5
    """So many failures one after another open it."""
    ratio: Share = 0.5
    """Or this share of the last `window` attempts."""
    window: Annotated[int, msgspec.Meta(ge=2, le=1_000)] = 20
    """Attempts the share is taken of."""
    open_ms: Positive = 5_000
    """How long it stays open before one attempt may probe; doubles with each failed probe."""
    longest_open_ms: Positive = 60_000
    """Where doubling ends."""


class Health(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How features of the stream steer the choice."""

    error_ratio: Share = 0.5
    """An upstream whose model failed so often in the last minute comes after those that did not."""
    calls: Positive = 20
    """Fewer calls in the window say nothing."""
    refresh_ms: Positive = 1_000
    """How often features are read."""
    default_error_ratio: Share = 0.0
    """What is assumed where a feature is missing or too old."""


class Replica(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server of an upstream."""

    url: str
    """Base URL with the API's version, such as `http://127.0.0.1:8000/v1`."""
    weight: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    """Its share of the load beside its siblings."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One deployment of one model: what may be asked of it, who bills it, how patient to be."""

    provider: Name
    """Provider as in the ledger: `openai`, `azure.ai.openai`, `vllm`, …"""
    replicas: Annotated[tuple[Replica, ...], msgspec.Meta(min_length=1, max_length=64)]
    """Its servers; all are equal but for their weight."""
    model: Name | None = None
    """The model's name there; without it, the caller's."""
    tier: Name | None = None
    """Tier of the model, as the ledger and the router's policy know it: `small`, `large`, …"""
    logprobs: bool = False
    """Whether it gives log-probabilities of its tokens when asked."""
    key_file: str | None = None
    """File that holds the key for it; read again when it changes."""
    key_header: str = "authorization"
    """Header that carries the key; under `authorization` it is a bearer token."""
    engine: Name | None = None
    """Engine of a self-hosted model: `vllm`, `llama.cpp`, …"""
    billing_account: Name | None = None
    """Account the provider bills."""
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
    ask_for_usage: bool = True
    """Whether streams ask for their usage; false for servers that refuse `stream_options`."""
    forward_headers: tuple[str, ...] = ("traceparent", "tracestate")
    """Request headers of the caller that are passed on; no others are."""
    output_tokens_limit: Positive = 16_384
    """Most tokens one choice may have where the request sets no limit; what is reserved for it."""
    image_tokens_limit: Count = 4_096
    """Most input tokens an image may count, for the reservation."""
    connections: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 256
    """Most connections to each replica."""
    waiting: Count = 256
    """Most requests that may wait for a connection to a replica; one more is 503."""
    connect_ms: Positive = 3_000
    """Longest wait for a connection."""
    first_byte_ms: Positive = 120_000
    """Longest wait for the first byte of the reply."""
    idle_ms: Positive = 60_000
    """Longest silence within the reply."""
    total_ms: Positive = 900_000
    """Longest call."""
    keep_alive_ms: Count = 4_000
    """How long an unused connection is kept. Less than the server keeps it: vLLM's 5 s by default."""


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller may ask for, and who serves it."""

    upstreams: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=16)]
    """Upstreams in the order they are tried."""
    apis: tuple[str, ...] = ("chat",)
    """`chat`, `embeddings`."""
    owned_by: Name = "tokenledger"
    """As `/v1/models` says."""
    created_s: Count = 0
    """As `/v1/models` says: seconds since 1970."""
    cascade: Cascade | None = None
    """How its tiers work together; without it, upstreams are tried in their order."""
    experiment: Experiment | None = None
    """The cascade against something simpler."""
    cache: RouteCache | None = None
    """Which answers may be given again; without it, none."""


class Capture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prompts and answers of tenants that allow it, on the raw topic; redacted where the lake takes them."""

    consent_file: Annotated[str, msgspec.Meta(min_length=1)]
    """Which tenants allow it (docs/lake.md); looked at every second, and nobody does while it is wrong."""
    most_bytes: Annotated[int, msgspec.Meta(ge=1, le=786_432)] = 131_072
    """Longest prompt and answer that are kept; a Kafka message has at most 1 MiB."""
    capacity_bytes: Annotated[int, msgspec.Meta(ge=4_194_304, le=2**40)] = 67_108_864
    """Most disk that texts may take which are not shipped yet; what comes then is not kept."""


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it."""

    listen: Listen = Listen()
    """Where the gateway answers."""
    limits: Limits = Limits()
    """What a caller may ask of the gateway itself."""
    drain: Drain = Drain()
    """How long a call goes on after nobody waits for it."""
    retries: Retries = Retries()
    """When a call is tried again."""
    breaker: Breaker = Breaker()
    """When a replica is left alone."""
    health: Health = Health()
    """How features of the stream steer the choice."""
    router: RouterFiles | None = None
    """Where the router's policy and its models are."""
    cache: CacheSettings | None = None
    """Where answers that may be given again are kept."""
    capture: Capture | None = None
    """Keeping of texts; without this section nobody's are."""
    heartbeat_ms: Count = 15_000
    """A stream silent for so long gets a comment, so that nobody between closes it; 0 for none."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that upstreams may have; nothing is ever sent anywhere else."""
    upstreams: dict[str, Upstream] = {}
    """Deployments by name."""
    routes: dict[str, Route] = {}
    """Model names callers use → who serves them."""


T = TypeVar("T")
_TABLES: Final[dict[str, type[msgspec.Struct]]] = {"upstreams": Upstream, "routes": Route}


def configuration_of(text: str) -> Configuration:
    """The configuration a TOML text holds. Raises ConfigurationError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"not TOML: {error}") from None
    for section, kind in _TABLES.items():
        if isinstance(entries := table.get(section), dict):
            table[section] = {
                name: _converted(f"{section}.{name}", entry, kind=kind) for name, entry in entries.items()
            }
    known = [field for field in Configuration.__struct_fields__ if field not in _TABLES]
    plain = {name: value for name, value in table.items() if name not in _TABLES}
    checked = {name: getattr(_converted("", plain, kind=Configuration), name) for name in known}
    made = Configuration(**checked, **{name: table[name] for name in _TABLES if isinstance(table.get(name), dict)})
    if bad := next((name for name in _TABLES if name in table and not isinstance(table[name], dict)), None):
        raise ConfigurationError(f"{bad} is {table[bad]!r}; write tables [{bad}.NAME]")
    _check(made)
    return made


def _converted(where: str, value: Any, *, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        path = path.rstrip("`")
        place = f"{where}{path}".lstrip(".")
        found = "" if "field" in what else f", found {_at(value, path)!r}"
        known = f"; known there are {', '.join(_fields_at(kind, path))}" if "unknown field" in what else ""
        raise ConfigurationError(f"{what}{found}{f' - at `{place}`' if place else ''}{known}") from None


def _at(value: Any, path: str) -> Any:
    """The value a message is about."""
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _fields_at(kind: type[Any], path: str) -> tuple[str, ...]:
    """Field names of the section a message is about."""
    for step in re.findall(r"[a-z_]+", path):
        found = next((f.type for f in msgspec.structs.fields(kind) if f.name == step), None)
        inner = [found, *getattr(found, "__args__", ()), *getattr(getattr(found, "__origin__", None), "__args__", ())]
        kind = next((t for t in inner if isinstance(t, type) and issubclass(t, msgspec.Struct)), kind)
    return kind.__struct_fields__ if issubclass(kind, msgspec.Struct) else ()


def _check(made: Configuration) -> None:
    for name, upstream in made.upstreams.items():
        _named(f"upstreams.{name}", name)
        if not _HEADER.fullmatch(upstream.key_header):
            raise ConfigurationError(f"upstreams.{name}.key_header is {upstream.key_header!r}; write it in lower case")
        if bad := next((h for h in upstream.forward_headers if not _HEADER.fullmatch(h) or h in NEVER_FORWARDED), None):
            raise ConfigurationError(f"upstreams.{name}.forward_headers has {bad!r}, which is never passed on")
        for replica in upstream.replicas:
            _check_url(f"upstreams.{name}.replicas", replica.url, allowed=made.allowed_hosts)
    for name, route in made.routes.items():
        _named(f"routes.{name}", name)
        _check_route(made, name, route=route)


NEVER_FORWARDED: Final = frozenset(
    {
        *("authorization", "proxy-authorization", "proxy-connection", "api-key", "x-api-key", "cookie", "host"),
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "expect"),
        *("content-type", "content-encoding", "accept", "accept-encoding", "x-request-id", "user-agent"),
    }
)
"""Headers that say who asks, frame the message, or are set by the gateway itself."""


def _named(where: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{where}: the name {name!r} may have letters, digits and ._:/@+-")


def _check_route(made: Configuration, name: str, *, route: Route) -> None:
    if unknown := next((one for one in route.upstreams if one not in made.upstreams), None):
        known = ", ".join(made.upstreams) or "none"
        raise ConfigurationError(f"routes.{name}.upstreams names {unknown!r}; upstreams are: {known}")
    if len(set(route.upstreams)) < len(route.upstreams):
        raise ConfigurationError(f"routes.{name}.upstreams names one twice: {', '.join(route.upstreams)}")
    if bad := next((api for api in route.apis if api not in APIS), None):
        raise ConfigurationError(f"routes.{name}.apis has {bad!r}; known are {', '.join(APIS)}")
    if route.cache is not None and made.cache is None:
        raise ConfigurationError(f"routes.{name}.cache needs [cache] with folder")
    if route.experiment is not None and route.cascade is None:
        raise ConfigurationError(f"routes.{name}.experiment: there is no [routes.{name}.cascade] to try")
    if route.cascade is not None:
        _check_cascade(made, name, route=route)


def _check_cascade(made: Configuration, name: str, *, route: Route) -> None:
    where, cascade = f"routes.{name}.cascade", route.cascade
    assert cascade is not None  # noqa: S101  (whoever calls has looked)
    if made.router is None:
        raise ConfigurationError(f"{where} needs [router] with policy_file")
    if "chat" not in route.apis:
        raise ConfigurationError(f"{where}: only `chat` is cascaded, and routes.{name}.apis lacks it")
    if bare := next((one for one in route.upstreams if made.upstreams[one].tier is None), None):
        raise ConfigurationError(f"{where}: upstreams.{bare} has no tier; give it one of the policy's")
    second = cascade.second_opinion
    if second is not None and second not in route.upstreams:
        known = ", ".join(route.upstreams)
        raise ConfigurationError(f"{where}.second_opinion is {second!r}; upstreams of the route are: {known}")
    control = route.experiment.control_tier if route.experiment is not None else None
    tiers = {made.upstreams[one].tier for one in route.upstreams}
    if control is not None and control not in tiers:
        known = ", ".join(sorted(filter(None, tiers)))
        raise ConfigurationError(f"routes.{name}.experiment.control_tier is {control!r}; tiers of the route: {known}")


def _check_url(where: str, url: str, *, allowed: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"{where}: url {url!r}: {error}") from None
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise ConfigurationError(f"{where}: url {url!r}; it must be http://host[:port]/path or https://…")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError(f"{where}: url of host {host!r} has a user, query or fragment; keys go in key_file")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigurationError(f"{where}: url {url!r} has characters that no URL has")
    if host not in allowed:
        raise ConfigurationError(f"{where}: host {host!r} is not in allowed_hosts ({', '.join(allowed) or 'empty'})")
