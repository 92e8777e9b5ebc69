"""The generator's own expectations against the product's one path of a record: two pieces of arithmetic, one result."""

from collections import Counter

import msgspec
import yaml

from tests.faults.rates import final_file, half_even
from tests.faults.workload import Event, Run, Traffic
from tokenledger.pricing.book import PriceBook, build_book
from tokenledger.pricing.overlay import read_overlay
from tokenledger.process import Context, process
from tokenledger.records import PricedCall, Rejected
from tokenledger.records.raw import RawEvent

_START_US = 1_795_000_000_000_000
_RUN = Run(seed=5, events=6_000, start_us=_START_US, rate=1_000, prefix="faults")
_START = "2026-11-18T11:06:40Z"


def book() -> PriceBook:
    """The generator's rates, the edit included, as the product reads them from a file."""
    text = final_file(_START, contract_tenant=_RUN.contract_tenant)
    return build_book(None, read_overlay(yaml.safe_load(text)))


def raw(event: Event) -> RawEvent:
    """The record as the log would have it."""
    return RawEvent(value=event.value, headers=event.headers, key=event.key, append_at_us=_START_US + event.n * 1_000)


def test_every_record_is_worth_what_the_generator_says_it_is() -> None:
    context = Context(book())
    kinds: Counter[str] = Counter()
    for event in Traffic(_RUN).events():
        found = process(raw(event), context)
        entry = event.entry
        if "first" in entry:
            kinds["again"] += 1
        elif entry["kind"] == "poison":
            assert isinstance(found, Rejected), entry
            assert (found.reason, entry["reason"]) == (entry["reason"], entry["reason"]), found
            kinds[entry["reason"]] += 1
        else:
            assert isinstance(found, PricedCall), (entry, found)
            lines = {line.meter: (line.quantity, line.amount_usd_pico) for line in found.lines}
            assert lines == entry["lines"], (entry, found)
            assert (found.cost_usd_pico is not None) == entry["is_complete"], (entry, found.price_status)
            kinds[f"{entry['model']} {found.call.status}"] += 1
    assert len(kinds) >= 18, kinds
    assert min(kinds.values()) >= 1
    assert 200 < kinds["again"] < 400, kinds


def test_the_same_seed_gives_the_same_records_and_another_seed_others() -> None:
    first, again = (list(Traffic(_RUN._replace(events=500)).events()) for _ in range(2))
    assert first == again
    other = list(Traffic(_RUN._replace(events=500, seed=6)).events())
    assert not {event.key for event in first} & {event.key for event in other}


def test_the_journal_s_entries_are_json() -> None:
    for event in Traffic(_RUN._replace(events=200)).events():
        assert msgspec.json.decode(msgspec.json.encode(event.entry))


def test_halves_are_rounded_to_the_even_neighbour() -> None:
    assert [half_even(n, 2) for n in (1, 3, 5, 7)] == [0, 2, 2, 4]
    assert half_even(7, 10) == 1
    assert half_even(24, 10) == 2
