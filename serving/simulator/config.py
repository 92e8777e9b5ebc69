"""What a simulator is told: its tiers, checked as a whole before anything listens."""

import tomllib
from enum import StrEnum
from pathlib import Path

import msgspec


class Fault(StrEnum):
    """How a request can go wrong."""

    RATE_LIMITED = "rate_limited"
    """429 with `retry-after`."""
    OUT_OF_QUOTA = "out_of_quota"
    """429 with code `insufficient_quota`, which no retry helps."""
    SERVER_ERROR = "server_error"
    """500 with an error object."""
    UNAVAILABLE = "unavailable"
    """503 with an error object."""
    NOT_JSON = "not_json"
    """502 with a page of HTML, as a proxy in front of a dead server gives it."""
    ERROR_IN_200 = "error_in_200"
    """Status 200 with an error object; in a stream, an error event after the first token."""
    SLOW_HEADERS = "slow_headers"
    """The answer starts `stall_us` late."""
    HANG = "hang_after_first_token"
    """One token, then nothing."""
    CLOSED_EARLY = "closed_before_headers"
    """The connection ends without an answer."""
    CLOSED_MID_BODY = "closed_mid_body"
    """The connection ends in the middle of the answer."""
    TRUNCATED = "truncated_stream"
    """The stream ends well as HTTP, but without finish reason, usage and `[DONE]`; a whole answer as if whole."""
    USAGE_MISSING = "usage_missing"
    """No usage, asked for or not."""
    USAGE_DOUBLED = "usage_doubled"
    """A stream reports the same usage twice; a whole answer states a total twice its parts."""
    USAGE_NEGATIVE = "usage_negative"
    """More cached input than input, and a negative output."""


class Tier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One upstream: a port, the models behind it, how fast and how right they are."""

    name: str
    """Name of the tier."""
    port: int = 0
    """Port on 127.0.0.1; 0 takes a free one."""
    models: tuple[str, ...]
    """Models it answers for."""
    api_key: str = ""
    """What callers must send as bearer token; "" lets everybody in. No secret: it opens nothing but a simulator."""
    slots: int = 8
    """Requests answered at the same time; the others wait."""
    queue_limit: int = 1_000
    """Requests that may wait; more are told 503."""
    ttft_us_p50: int = 200_000
    """Median time to the first token on an idle tier."""
    ttft_sigma: float = 0.3
    """Spread of it: the standard deviation of its logarithm."""
    prefill_us_per_1k_tokens: int = 20_000
    """Added to it for every thousand tokens of input that no cache holds."""
    tpot_us_p50: int = 10_000
    """Median time per token after the first."""
    tpot_sigma: float = 0.2
    """Spread of it."""
    load_slowdown: float = 1.0
    """How much slower a full tier is than an idle one: 1.0 doubles its times when all slots are taken."""
    output_tokens_p50: int = 60
    """Median length of an answer, where the caller sets no limit below it."""
    output_tokens_sigma: float = 0.5
    """Spread of it."""
    reasoning_ratio: float = 0.0
    """Reasoning tokens per token that is seen; they count as output and take time before the first token."""
    accuracy: float = 0.9
    """Share of the prompts with a known answer that are answered right."""
    accuracy_hardest: float | None = None
    """The same of the hardest prompts, where labels say how hard each is; without it, all are alike."""
    shared_difficulty: float = 0.6
    """How often right and wrong follow the prompt's own difficulty, the same for all tiers, and not chance."""
    prompt_cache: bool = True
    """Whether input of 1,024 tokens and more that was seen before is reported as cached."""
    dimensions: int = 64
    """Length of an embedding, where the caller asks for none."""
    stall_us: int = 5_000_000
    """How late a slow answer starts."""
    faults: dict[Fault, float] = {}
    """Probability of each way to fail, from the start."""

    def __post_init__(self) -> None:
        for complaint in _complaints(self):
            raise ValueError(f"tier {self.name!r}: {complaint}")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulator."""

    seed: int = 1
    """The same seed and the same order of requests give the same times and the same failures."""
    control_port: int = 0
    """Port of the controls on 127.0.0.1; 0 takes a free one."""
    journal: str | None = None
    """File that gets a line a request, relative to the configuration; none is kept without."""
    labels: str | None = None
    """JSON lines `{prompt, answer, wrong?}` of prompts whose answer is known, relative to the configuration."""
    tiers: tuple[Tier, ...]
    """The upstreams."""

    def __post_init__(self) -> None:
        if not self.tiers:
            raise ValueError("tiers: there is none; add a [[tiers]] table")
        names = [tier.name for tier in self.tiers]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"tiers: the name {min(repeated)!r} is given twice; each tier needs its own")
        ports = [port for port in (self.control_port, *(tier.port for tier in self.tiers)) if port]
        if shared := {port for port in ports if ports.count(port) > 1}:
            raise ValueError(f"port {min(shared)} is given twice; each tier and the controls need their own")


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the controls can change of a tier while it runs; what is left out stays."""

    faults: dict[Fault, float] | None = None
    """Probability of each way to fail; those not named are off."""
    slowdown: float | None = None
    """All its times are multiplied by this; 0 answers at once."""
    listening: bool | None = None
    """False refuses connections, and ends those that are open and idle."""

    def __post_init__(self) -> None:
        if self.faults and (complaint := _faults_complaint(self.faults)):
            raise ValueError(complaint)
        if self.slowdown is not None and not 0 <= self.slowdown < float("inf"):
            raise ValueError(f"slowdown is {self.slowdown}; it must be 0 or more")


def _complaints(tier: Tier) -> list[str]:
    least = {
        "port": 0, "slots": 1, "queue_limit": 0, "ttft_us_p50": 0, "tpot_us_p50": 0, "prefill_us_per_1k_tokens": 0,
        "output_tokens_p50": 1, "dimensions": 1, "stall_us": 0, "ttft_sigma": 0, "tpot_sigma": 0, "load_slowdown": 0,
        "output_tokens_sigma": 0, "reasoning_ratio": 0, "accuracy": 0, "accuracy_hardest": 0, "shared_difficulty": 0,
    }  # fmt: skip
    said = {field: value for field in least if (value := getattr(tier, field)) is not None}
    found = [
        f"{field} is {value}; it must be {least[field]} or more"
        for field, value in said.items()
        if not least[field] <= value < float("inf")
    ]
    found += [
        f"{field} is {said[field]}; it is a share and must be at most 1"
        for field in ("accuracy", "accuracy_hardest", "shared_difficulty")
        if said.get(field, 0) > 1
    ]
    if not tier.models:
        found.append("models is empty; name at least one")
    if complaint := _faults_complaint(tier.faults):
        found.append(complaint)
    return found


def _faults_complaint(faults: dict[Fault, float]) -> str:
    if all(share >= 0 for share in faults.values()) and sum(faults.values()) <= 1:
        return ""
    said = ", ".join(f"{fault.value} {share}" for fault, share in faults.items())
    return f"faults are {said}; each must be 0 or more, and all together at most 1"


def load(path: Path) -> Settings:
    """The configuration in a file. Raises ValueError, with what would be right, if it is none."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        settings = msgspec.convert(table, Settings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return msgspec.structs.replace(
        settings, journal=_beside(path, settings.journal), labels=_beside(path, settings.labels)
    )


def _beside(path: Path, name: str | None) -> str | None:
    return None if name is None else str(path.parent / name)
