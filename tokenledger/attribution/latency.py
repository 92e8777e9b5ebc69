"""Latency of one call, in parts that add up to its total.

`total = admit + guard + cache + route + retrieve + network + queue + prefill + decode + unattributed`; network, queue
and prefill are one `first_token_wait` where they cannot be told apart. Instants come from the caller's clock and
durations from one process each, so instants are subtracted only from instants. A negative remainder is kept and
flagged.
"""

from typing import Final

from tokenledger.records.call import Call, Timings
from tokenledger.records.priced import Latency
from tokenledger.records.reasons import Anomaly

_NONE: Final = Timings()


def attribute(call: Call) -> tuple[Latency | None, tuple[str, ...]]:
    """The parts, and what is odd about them; None where nothing was measured."""
    timings = call.timings
    started_at_us = call.started_at_us if call.event_time_source == "started_at" else None
    if timings is None and started_at_us is not None and (simple := _from_instants(call, started_at_us)) is not None:
        return simple, ()
    if timings is None and (started_at_us is None or (call.ended_at_us is None and call.first_token_at_us is None)):
        return None, ()
    anomalies: list[str] = []
    total_us = _total(call, started_at_us, anomalies)
    ttft_us = _elapsed(started_at_us, call.first_token_at_us)
    first_us, ended_us = call.first_token_at_us, call.ended_at_us
    if first_us is not None and ended_us is not None and first_us > ended_us:
        anomalies.append(Anomaly.FIRST_TOKEN_AFTER_END.value)
        ttft_us = None
    return _parts(call, timings or _NONE, total_us=total_us, ttft_us=ttft_us, anomalies=anomalies)


def _from_instants(call: Call, started_at_us: int) -> Latency | None:
    """The usual case: a start and an end in order, perhaps a first token between them. None for anything else."""
    first_us, ended_us = call.first_token_at_us, call.ended_at_us
    if ended_us is None or ended_us < started_at_us:
        return None
    total_us = ended_us - started_at_us
    if first_us is None:
        return Latency(total_us=total_us, unattributed_us=total_us)
    if not started_at_us <= first_us <= ended_us:
        return None
    return Latency(
        total_us=total_us,
        ttft_us=first_us - started_at_us,
        tpot_us=_per_token(ended_us - first_us, call.output_tokens),
        first_token_wait_us=first_us - started_at_us,
        decode_us=ended_us - first_us,
        unattributed_us=0,
    )


def _total(call: Call, started_at_us: int | None, anomalies: list[str]) -> int | None:
    if started_at_us is not None and call.ended_at_us is not None:
        if call.ended_at_us >= started_at_us:
            return call.ended_at_us - started_at_us
        anomalies.append(Anomaly.ENDED_BEFORE_START.value)
        return None
    return call.timings.total_us if call.timings else None


def _elapsed(since_us: int | None, until_us: int | None) -> int | None:
    return until_us - since_us if since_us is not None and until_us is not None and until_us >= since_us else None


def _parts(
    call: Call, timings: Timings, *, total_us: int | None, ttft_us: int | None, anomalies: list[str]
) -> tuple[Latency, tuple[str, ...]]:
    own_us = _sum(timings.admit_us, timings.guard_us, timings.cache_us, timings.route_us, timings.retrieve_us)
    told_apart = timings.queue_us is not None or timings.prefill_us is not None or timings.network_us is not None
    wait_us = ttft_us - own_us if ttft_us is not None and not told_apart and ttft_us >= own_us else None
    decode_us = timings.decode_us
    if decode_us is None and ttft_us is not None and total_us is not None:
        decode_us = total_us - ttft_us
    engine_us = wait_us if wait_us is not None else _sum(timings.network_us, timings.queue_us, timings.prefill_us)
    rest_us = None if total_us is None else total_us - own_us - engine_us - (decode_us or 0)
    if rest_us is not None and rest_us < 0:
        anomalies.append(Anomaly.NEGATIVE_REMAINDER.value)
    latency = Latency(
        total_us=total_us,
        ttft_us=ttft_us,
        tpot_us=_per_token(decode_us, call.output_tokens),
        admit_us=timings.admit_us,
        guard_us=timings.guard_us,
        cache_us=timings.cache_us,
        route_us=timings.route_us,
        retrieve_us=timings.retrieve_us,
        network_us=timings.network_us,
        queue_us=timings.queue_us,
        prefill_us=timings.prefill_us,
        first_token_wait_us=wait_us,
        decode_us=decode_us,
        unattributed_us=rest_us,
    )
    return latency, tuple(anomalies)


def _sum(*parts_us: int | None) -> int:
    return sum(part_us for part_us in parts_us if part_us is not None)


def _per_token(decode_us: int | None, output_tokens: int | None) -> int | None:
    """Mean time per output token after the first, rounded half to even."""
    if decode_us is None or output_tokens is None or output_tokens < 2:  # noqa: PLR2004 - one token has no interval
        return None
    quotient, remainder = divmod(2 * decode_us + output_tokens - 1, 2 * (output_tokens - 1))
    return quotient - 1 if remainder == 0 and quotient % 2 else quotient
