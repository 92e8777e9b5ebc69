"""The lake on disk: what is counted, put together, kept, removed and erased, and what no crash leaves behind."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.lake import files, maintaining, manifests, reading, schema, verifying
from ledger.lake.consent import NOBODY, parse_consent
from ledger.lake.erasures import Erased, Erasure, read_erasures
from ledger.lake.held import Held
from ledger.lake.layout import (
    CALLS,
    TEXTS,
    Place,
    Span,
    day_of,
    file_name,
    place_of,
    span_of,
    standing,
    tenant_hash,
)
from ledger.lake.locking import LakeError
from ledger.lake.manifests import Figures
from ledger.lake.progress import Progress, commit, recover
from ledger.lake.schema import PlacedCall, arrow_type
from ledger.lake.users import Users, read_key
from tests.ledger.lake.test_reading import NOON_US, text
from tests.ledger.samples import NOW_US, call, full, priced
from tokenledger.records import PricedCall
from tokenledger.records.texts import CapturedText

pytestmark = pytest.mark.slow  # DuckDB and Parquet, again and again

DAY_US = 86_400_000_000
NOBODY_ERASED = Erased([])


def placed(record: PricedCall, offset: int, *, user_hash: str | None = None) -> PlacedCall:
    return PlacedCall(record, user_hash, record.call.started_at_us, 0, offset)


def write_calls(lake: Path, rows: list[PlacedCall], *, first: int = 0, end: int | None = None) -> None:
    """As the archive writes a range of partition 0."""
    held = Held("llm.priced.v1", 0, next_offset=first)
    held.add(CALLS, rows)
    held.read_to(first + len(rows) if end is None else end, len(rows))
    staged = [
        files.stage(lake, where.path / file_name(held.span), table=part) for where, part in held.parts(NOBODY_ERASED)
    ]
    commit(
        lake,
        Progress(
            topic="llm.priced.v1",
            partition=0,
            topic_uuid="",
            first_offset=0,
            next_offset=held.end,
            published=[str(one.path) for one in staged],
        ),
    )


def rows_of(lake: Path, **chosen: Any) -> list[dict[str, Any]]:
    return [row for batch in reading.calls(lake, **chosen) for row in batch.to_pylist(maps_as_pydicts="strict")]


def plain(offset: int, **changes: Any) -> PricedCall:
    return priced(call(event_id=f"e{offset}", event_key=f"app/e{offset}", **changes), offset=offset)


def test_a_call_with_every_kind_of_field_comes_back_as_it_was(tmp_path: Path) -> None:
    record = full()
    write_calls(tmp_path, [placed(record, 0, user_hash="ab")])
    [row] = rows_of(tmp_path)
    stated = msgspec.json.decode(msgspec.json.encode(record.call))
    for name in ("tenant_id", "usage", "tags", "token_times_us", "stream", "http_status"):
        assert row[name] == stated[name], name
    assert (row["shares"], row["reading_anomalies"], row["anomalies"]) == ([], ["text_bounded"], [*record.anomalies])
    assert (row["timings"]["queue_us"], row["timings"]["admit_us"]) == (5, None)
    assert row["lines"][0]["amount_usd_pico"] == record.lines[0].amount_usd_pico
    assert (row["cost_usd_pico"], row["known_cost_usd_pico"]) == (None, record.known_cost_usd_pico)
    assert msgspec.json.decode(row["raw_usage"]) == {"prompt_tokens": 100, "details": {"x": [1, 2.5, None]}}
    assert row["decision"]["propensities"] == {"small": 0.995, "large": 0.005}
    assert (row["rank"].hex(), row["fingerprint"].hex()) == (record.rank, record.fingerprint)
    assert (row["user_hash"], row["charged_at_us"], row["total_us"]) == ("ab", NOW_US, 900_000)
    assert "user_id" not in row


def test_every_field_of_the_records_is_a_column() -> None:
    assert {"user_hash", "lines", "decision", "reading_anomalies", "priced_offset"} <= set(schema.CALLS.names)
    assert set(CapturedText.__struct_fields__) <= set(schema.TEXTS.names)
    assert all(field.nullable for field in schema.CALLS)


def test_of_all_records_of_a_call_one_is_read(tmp_path: Path) -> None:
    final = priced(call(revision=1), offset=7)
    duplicate = priced(call(revision=1), offset=9)
    write_calls(tmp_path, [placed(priced(call(), offset=5), 0), placed(final, 1), placed(duplicate, 2)])
    [row] = rows_of(tmp_path)
    assert (row["revision"], row["offset"]) == (1, 7)


def test_a_raw_record_that_was_priced_twice_counts_as_it_was_priced_first(tmp_path: Path) -> None:
    """As the ledger has it: the second is a re-delivery, whatever it says."""
    again = msgspec.structs.replace(priced(call(revision=9), offset=5), known_cost_usd_pico=1)
    write_calls(tmp_path, [placed(priced(call(), offset=5), 0), placed(again, 1)])
    [row] = rows_of(tmp_path)
    assert (row["revision"], row["priced_offset"]) == (0, 0)


def test_a_winner_of_another_day_takes_the_loser_out_of_its_day(tmp_path: Path) -> None:
    later = priced(call(revision=1, started_at_us=NOW_US + DAY_US), offset=1)
    write_calls(tmp_path, [placed(priced(call(), offset=0), 0), placed(later, 1)])
    assert rows_of(tmp_path, until_us=NOW_US + DAY_US) == []
    assert len(rows_of(tmp_path, since_us=NOW_US + DAY_US)) == 1


def test_ranges_that_were_read_twice_count_once(tmp_path: Path) -> None:
    rows = [placed(plain(n), n) for n in range(6)]
    write_calls(tmp_path, rows[:4])
    write_calls(tmp_path, rows[2:], first=2)
    write_calls(tmp_path, rows[1:3], first=1)
    assert sorted(row["offset"] for row in rows_of(tmp_path)) == [0, 1, 2, 3, 4, 5]


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column 'cost' of calls"):
        list(reading.calls(tmp_path, columns=["cost"]))


def test_files_of_an_older_and_a_newer_version_are_read_together(tmp_path: Path) -> None:
    """A nullable column that one of them lacks is null; one that this version does not know is passed over."""
    write_calls(tmp_path, [placed(plain(0), 0)])
    write_calls(tmp_path, [placed(plain(1), 1)], first=1)
    older, newer = sorted(tmp_path.rglob("*.parquet"))
    table = pq.ParquetFile(older).read()
    timings = table.column("timings").combine_chunks()
    fewer = pa.StructArray.from_arrays(
        [timings.field("queue_us")], fields=[timings.type.field("queue_us")], mask=timings.is_null()
    )
    table = table.drop_columns(["decision", "attempt_reason", "timings"]).append_column("timings", fewer)
    pq.write_table(table, older)
    table = pq.ParquetFile(newer).read()
    pq.write_table(table.append_column("tomorrow", pa.array([1])), newer)
    assert [(row["offset"], row["decision"], row["attempt_reason"]) for row in rows_of(tmp_path)] == [
        (0, None, None),
        (1, None, None),
    ]
    assert maintaining.compact(tmp_path) == maintaining.Compacted(before=2, after=1)
    assert len(rows_of(tmp_path)) == 2


def test_files_are_put_together_and_nothing_changes_for_readers(tmp_path: Path) -> None:
    for first in range(0, 20, 5):
        write_calls(tmp_path, [placed(plain(n), n) for n in range(first, first + 5)], first=first)
    reading.write_texts(tmp_path, [text(0), text(1)])
    reading.write_texts(tmp_path, [text(2)], first_offset=2)
    before, texts = rows_of(tmp_path), list(reading.texts(tmp_path))
    [manifest] = [manifests.make(tmp_path, day) for day in manifests.days(tmp_path)[:1]]
    manifests.write(tmp_path, manifest)
    assert maintaining.compact(tmp_path) == maintaining.Compacted(before=6, after=2)
    assert (rows_of(tmp_path), list(reading.texts(tmp_path))) == (before, texts)
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert verifying.verify(tmp_path, None).differences == []
    assert maintaining.compact(tmp_path) == maintaining.Compacted(before=2, after=2)


def test_a_compaction_that_ended_half_way_doubles_nothing(tmp_path: Path) -> None:
    for first in (0, 5):
        write_calls(tmp_path, [placed(plain(n), n) for n in range(first, first + 5)], first=first)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    before = rows_of(tmp_path)
    maintaining.compact(tmp_path)
    for path, content in kept.items():  # as if it had been killed before it removed them
        path.write_bytes(content)
    assert rows_of(tmp_path) == before
    maintaining.compact(tmp_path)
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_old_days_go_whole_and_the_rest_stays(tmp_path: Path) -> None:
    write_calls(tmp_path, [placed(plain(n, started_at_us=NOW_US + n * DAY_US), n) for n in range(3)])
    reading.write_texts(tmp_path, [text(0, at_us=NOW_US)])
    second = day_of(NOW_US + DAY_US)
    for day in manifests.days(tmp_path):
        manifests.write(tmp_path, manifests.make(tmp_path, day))
    removed = maintaining.retain(tmp_path, tables=(TEXTS,), first_kept=second)
    assert [place.table for place in removed] == [TEXTS]
    assert len(rows_of(tmp_path)) == 3
    maintaining.retain(tmp_path, tables=(CALLS, TEXTS), first_kept=second)
    assert [row["offset"] for row in rows_of(tmp_path)] == [1, 2]
    assert sorted(manifests.written(tmp_path)) == [second, day_of(NOW_US + 2 * DAY_US)]
    assert verifying.verify(tmp_path, None).differences == []


def test_an_erased_person_is_gone_from_texts_calls_and_what_comes_later(tmp_path: Path) -> None:
    users = Users(b"k" * 32)
    anna, bob = users.hash_of("acme", "anna") or "", users.hash_of("acme", "bob")
    rows = [placed(plain(n), n, user_hash=anna if n else bob) for n in range(3)]
    write_calls(tmp_path, rows)
    texts = [msgspec.structs.replace(text(n), user_hash=anna if n else bob) for n in range(3)]
    reading.write_texts(tmp_path, texts)
    cost = sum(row["known_cost_usd_pico"] for row in rows_of(tmp_path))
    done = maintaining.erase(tmp_path, "acme", user_hash=anna, now_us=NOON_US + 1)
    assert (done.texts, done.calls, len(done.files)) == (2, 2, 2)
    assert [one.event_key for one in reading.texts(tmp_path)] == ["app#0"]
    assert [row["user_hash"] for row in rows_of(tmp_path)] == [bob, None, None]
    assert sum(row["known_cost_usd_pico"] for row in rows_of(tmp_path)) == cost
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*.parquet"))
    assert anna.encode() not in everything
    assert maintaining.erase(tmp_path, "acme", user_hash=anna, now_us=NOON_US + 1).files == []
    # The log still holds the records; reading them again does not bring the person back.
    held = Held("llm.priced.v1", 0, next_offset=0)
    held.add(CALLS, rows)
    [(_, table)] = held.parts(read_erasures(tmp_path))
    assert table.column("user_hash").to_pylist() == [bob, None, None]


def test_an_erasure_does_not_touch_a_namesake_of_another_tenant() -> None:
    users = Users(b"k" * 32)
    assert users.hash_of("acme", "anna") != users.hash_of("globex", "anna")
    assert users.hash_of("ac", "meanna") != users.hash_of("acme", "anna")
    erased = Erased([Erasure(tenant=tenant_hash("acme"), user_hash="h", erased_at_us=10)])
    assert erased.covers(tenant_hash("acme"), "h", at_us=10)
    assert not erased.covers(tenant_hash("acme"), "h", at_us=11)
    assert not erased.covers(tenant_hash("globex"), "h", at_us=10)
    assert not erased.covers(tenant_hash("acme"), None, at_us=10)


def test_the_text_beside_the_winner_counts_and_a_call_has_one(tmp_path: Path) -> None:
    """One reply that came under two event ids is one call; an event without a call keeps its text."""
    first = priced(call(event_key="app#1", response_key="openai/r"), offset=1)
    second = priced(call(event_key="app#2", response_key="openai/r", revision=1), offset=2)
    write_calls(tmp_path, [placed(first, 0), placed(second, 1)])
    written = [text(n, said=said) for n, said in ((0, "alone"), (1, "loser"), (2, "winner"), (3, "a"))]
    reading.write_texts(tmp_path, [*written, msgspec.structs.replace(text(3), answer=None)])
    assert [one.event_key for one in reading.texts(tmp_path)] == ["app#0", "app#2", "app#3"]
    assert [one.answer is None for one in reading.texts(tmp_path)] == [False, False, False]


def test_a_conversation_of_five_megabytes_is_read_beside_short_ones(tmp_path: Path) -> None:
    long = text(1, said="word " * 1_000_000)
    reading.write_texts(tmp_path, [text(0), long, text(2)])
    assert [len(one.messages) > 5_000_000 for one in reading.texts(tmp_path)] == [False, True, False]
    [path] = tmp_path.rglob("*.parquet")
    assert path.stat().st_size < 100_000


def test_a_day_without_calls_has_an_empty_manifest(tmp_path: Path) -> None:
    """A day of rejects only is one: what was refused is in the ledger's index, not in the lake."""
    manifest = manifests.make(tmp_path, date(2026, 1, 1))
    assert manifest == manifests.Manifest(day="2026-01-01", tenants={}, files=[])
    manifests.write(tmp_path, manifest)
    assert verifying.verify(tmp_path, None).differences == []
    write_calls(tmp_path, [], end=50)
    assert recover(tmp_path)["llm.priced.v1", 0].next_offset == 50
    assert rows_of(tmp_path) == []


def test_manifests_that_disagree_name_the_day_the_tenant_and_the_file(tmp_path: Path) -> None:
    write_calls(tmp_path, [placed(plain(0), 0), placed(plain(1), 1)])
    [day] = manifests.days(tmp_path)
    manifests.write(tmp_path, manifests.make(tmp_path, day))
    [path] = tmp_path.rglob("*.parquet")
    pq.write_table(pq.ParquetFile(path).read().slice(0, 1), path)
    said = [str(one) for one in verifying.verify(tmp_path, None).differences]
    assert f"the files are not those of the manifest: {day} acme calls: expected 2, found 1" in said
    assert any("a file differs" in one and path.name in one for one in said)
    with pytest.raises(LakeError, match="two of one day would be right"):
        manifests.compare(manifests.make(tmp_path, day), manifests.make(tmp_path, date(2026, 1, 1)), what="x")
    manifests.path_of(tmp_path, day).write_text('{"day": 5}')
    with pytest.raises(LakeError, match="`tokenledger lake manifest` makes one"):
        verifying.verify(tmp_path, None)


def test_the_same_files_give_the_same_manifest(tmp_path: Path) -> None:
    write_calls(tmp_path, [placed(plain(n), n) for n in range(3)])
    [day] = manifests.days(tmp_path)
    first = manifests.write(tmp_path, manifests.make(tmp_path, day)).read_bytes()
    assert manifests.write(tmp_path, manifests.make(tmp_path, day)).read_bytes() == first
    [figures] = manifests.make(tmp_path, day).tenants.values()
    assert figures == Figures(calls=3, known_cost_usd_pico=660_000, input_tokens=300, output_tokens=30)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """One megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if not mount or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("this machine mounts no tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_nothing_half_visible(small_disk: Path) -> None:
    write_calls(small_disk, [placed(plain(0), 0)])
    noise = [text(n, said=os.urandom(400_000).hex()) for n in range(3)]
    with pytest.raises(OSError) as refused:  # noqa: PT011  (the number says which)
        reading.write_texts(small_disk, noise)
    assert refused.value.errno == errno.ENOSPC
    assert list(reading.texts(small_disk)) == []
    assert files.partials(small_disk) == []
    assert len(rows_of(small_disk)) == 1
    reading.write_texts(small_disk, noise[:1])
    assert len(list(reading.texts(small_disk))) == 1


def test_a_range_counts_from_one_instant_on(tmp_path: Path) -> None:
    """Staged files are invisible; a crash before the commit removes them, one after it finishes their renaming."""
    held = Held("llm.priced.v1", 0, next_offset=0)
    held.add(CALLS, [placed(plain(0), 0)])
    held.read_to(1, 1)
    [(where, table)] = held.parts(NOBODY_ERASED)
    path = where.path / file_name(held.span)
    files.stage(tmp_path, path, table=table)
    assert rows_of(tmp_path) == []
    partial = files.partial_of(tmp_path, path)
    content = partial.read_bytes()
    recover(tmp_path)
    assert not partial.exists()
    progress = Progress(
        topic="llm.priced.v1", partition=0, topic_uuid="", first_offset=0, next_offset=1, published=[str(path)]
    )
    commit(tmp_path, progress)
    partial.write_bytes(content)
    recover(tmp_path)
    assert len(rows_of(tmp_path)) == 1


def test_rows_without_progress_are_not_archived_over(tmp_path: Path) -> None:
    reading.write_texts(tmp_path, [text(0)])
    with pytest.raises(LakeError, match="restore that folder"):
        recover(tmp_path)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 12)), max_size=12))
def test_the_files_that_count_hold_every_record_that_any_file_holds(rows: list[tuple[int, int, int]]) -> None:
    spans = [Span("llm.raw.v1", partition, first, first + length) for partition, first, length in rows]
    counted = [span_of(name) for name in standing({file_name(span) for span in spans})]
    held = {(span.partition, offset) for span in spans for offset in range(span.first, span.end)}
    kept = {(span.partition, offset) for span in counted if span for offset in range(span.first, span.end)}
    assert kept == held
    assert not any(one != other and one and other and one.covers(other) for one in counted for other in counted)


def test_places_and_names_read_back_as_they_were_written() -> None:
    where = Place(CALLS, tenant_hash("a/../b"), date(2026, 11, 21))
    assert place_of(where.path) == where
    span = Span("llm.raw.v1", 3, 5, 10**12)
    assert span_of(file_name(span)) == span
    for odd in ("x.parquet", "llm.raw.v1-3-5-6.parquet", ".llm.raw.v1-0-000000000000-000000000001.parquet.partial"):
        assert span_of(odd) is None
    for folder in ("_progress/a/b", "calls/x/day=2026-01-01", "calls/tenant=ab/day=x", "calls"):
        assert place_of(PurePosixPath(folder)) is None


def test_consent_says_what_is_wrong_with_it() -> None:
    allowed = parse_consent("[tenants.acme]\ncapture_texts = true\n[tenants.globex]\n", name="c")
    assert (allowed.allows("acme"), allowed.allows("globex"), allowed.allows("other")) == (True, False, False)
    assert not NOBODY.allows("acme")
    for wrong in ("[tenants.acme]\ncapture_texts = 1", "tenants = 1", "x = 1", "[tenants", "[tenants.a]\ntexts = true"):
        with pytest.raises(ValueError, match=r"capture_texts = true.* would be right"):
            parse_consent(wrong, name="consent.toml")


def test_the_users_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "key"
    key = read_key(path)
    assert (len(key), read_key(path)) == (32, key)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("not hex")
    with pytest.raises(ValueError, match="64 hex digits"):
        read_key(path)
    with pytest.raises(ValueError, match="at least 32"):
        Users(b"short")


def test_an_annotation_without_a_column_type_is_an_error() -> None:
    with pytest.raises(TypeError, match="no column type"):
        arrow_type(complex)
