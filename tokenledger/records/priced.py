"""A call with its cost lines, latency parts and provenance: what the ledger, windows and lake read."""

import msgspec

from tokenledger.records.call import Call


class Line(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One meter of one call, priced. A rate is `pico` USD per `per` units; each amount rounds once, half to even."""

    meter: str
    """Meter, or `adjustment.provider_billed`."""
    quantity: int
    """Quantity in the meter's base unit."""
    amount_usd_pico: int
    """Contracted amount, 10⁻¹² USD."""
    list_amount_usd_pico: int
    """The same at list price, 10⁻¹² USD."""
    list_pico: int = 0
    """List rate: pico-USD per `list_per` units."""
    list_per: int = 1
    """Units the list rate is for."""
    contracted_pico: int = 0
    """Contracted rate: pico-USD per `contracted_per` units."""
    contracted_per: int = 1
    """Units the contracted rate is for."""
    price_id: str = ""
    """Hash of everything in the rate; empty for an adjustment."""
    model: str | None = None
    """The priced model of this line, where it is not the call's."""
    matched: str = ""
    """What matched, in words: layer, provider, model, meter, conditions, tier, validity."""


class Latency(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Where the time of one call went, in µs. The parts present add up to `total_us`; None is not measured."""

    total_us: int | None = None
    """Start to last byte."""
    ttft_us: int | None = None
    """Start to first token."""
    tpot_us: int | None = None
    """Mean time per output token after the first, rounded half to even."""
    admit_us: int | None = None
    """Authentication, limits and budget checks."""
    guard_us: int | None = None
    """Screening."""
    cache_us: int | None = None
    """Cache look-up."""
    route_us: int | None = None
    """Choosing a model."""
    retrieve_us: int | None = None
    """Retrieval."""
    network_us: int | None = None
    """On the wire."""
    queue_us: int | None = None
    """Waiting in the engine."""
    prefill_us: int | None = None
    """Reading the prompt."""
    first_token_wait_us: int | None = None
    """Network, queue and prefill together, where they cannot be told apart."""
    decode_us: int | None = None
    """First token to last."""
    unattributed_us: int | None = None
    """Total minus the parts measured; negative is kept and flagged."""


class PricedCall(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One raw record, understood and priced."""

    call: Call
    """The call itself."""
    price_status: str
    """`priced`, `provider_billed`, `not_billable`, `unpriced`, `partly_priced`, `unmetered` or `self_hosted`."""
    lines: tuple[Line, ...] = ()
    """Cost lines; their sum is `known_cost_usd_pico`."""
    latency: Latency | None = None
    """Where the time went."""
    cost_usd_pico: int | None = None
    """What the call cost, 10⁻¹² USD; None while it is not wholly known."""
    known_cost_usd_pico: int = 0
    """Sum of the lines, 10⁻¹² USD; never None."""
    computed_usd_pico: int | None = None
    """What our book alone says, 10⁻¹² USD; None if incomplete."""
    chargeable_usd_pico: int | None = None
    """What the customer is charged by policy, 10⁻¹² USD."""
    priced_provider: str | None = None
    """Provider whose price was used, or would be."""
    priced_model: str | None = None
    """Model whose price was used, or would be, by the book's name."""
    unpriced_meters: tuple[str, ...] = ()
    """Meters of the usage for which no rate was found."""
    rate_fallbacks: tuple[str, ...] = ()
    """Every condition that was dropped and every stand-in meter that was used, such as `service_tier=flex`."""
    book_version: str = ""
    """Hash of the price book."""
    anomalies: tuple[str, ...] = ()
    """Everything odd about the call: those of reading, pricing and latency together."""
    fingerprint: str = ""
    """Hash of the facts that move money, time or attribution; equal means duplicate. 32 hex digits."""
    rank: str = ""
    """Hex text whose order decides which record of one call counts; the greatest wins."""
    topic: str = ""
    """Origin topic of the raw record; empty for a file."""
    partition: int = 0
    """Origin partition."""
    offset: int = 0
    """Origin offset."""
    append_at_us: int = 0
    """When the log took the raw record, µs UTC."""
    code_version: str = ""
    """Version of the code that priced it."""
    saved_usd_pico: int | None = None
    """What it would have cost had a cache not answered it, 10⁻¹² USD; None if it did not, or if not wholly known."""
