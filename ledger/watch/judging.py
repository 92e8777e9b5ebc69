"""One round of judging: what is wrong now, and what that changes about the alerts."""

import threading
from collections.abc import Iterable

import psycopg

from ledger.database import Connection, connect
from ledger.observing import ALERTS, logger
from ledger.settings import Settings
from ledger.verify import Difference, report
from ledger.watch import states, store
from ledger.watch.alerting import Changes, Finding, Open, Subject, changes
from ledger.watch.hearing import Ear
from ledger.watch.settings import Limits
from tokenledger.records.topics import PRICED, RAW, REJECTED

log = logger("ledger.watch")


class Comparison:
    """The ledger's sums, compared now and then in a thread: it reads whole tables."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread: threading.Thread | None = None
        self._found: list[Difference] | None = None

    def start(self) -> None:
        """Begin one, unless one is under way."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._compare, name="verify", daemon=True)
            self._thread.start()

    def take(self) -> list[Difference] | None:
        """What the last one found, once; None while there is none."""
        if self._thread is None or self._thread.is_alive():
            return None
        found, self._found, self._thread = self._found, None, None
        return found

    def _compare(self) -> None:
        try:
            with connect(self._settings, application="tokenledger-watch-verify") as connection:
                self._found = report(connection, None).differences
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            log.warning("sums not compared", extra={"facts": {"error": str(error)}})


class Judge:
    """What it needs to know from one round to the next."""

    def __init__(self, limits: Limits, comparison: Comparison) -> None:
        self._limits = limits
        self._comparison = comparison
        self._unseen: dict[int, int] = {}

    def judge(self, connection: Connection, ear: Ear, *, caught_up: bool, now_us: int) -> Changes:
        """One round, written down. Raises KafkaException where the log cannot be asked."""
        limits = self._limits
        found = self._behind(connection, ear, now_us=now_us)
        judged = dict.fromkeys(
            (states.BEHIND, states.REJECTS, states.INCOMPLETE, states.COMPACTION, states.REPRICING, states.CAPTURE),
            limits.hold_us,
        )
        differences = self._verified(connection, now_us=now_us)
        with connection.transaction():
            touched = store.note_rejected(connection)
            store.prune(connection, now_us=now_us)
            found += states.rejects(connection, limits, touched=touched, now_us=now_us)
            found += states.incomplete(connection, limits, now_us=now_us)
            found += states.books(connection, now_us=now_us)
            found += states.capture(connection)
            if caught_up:
                # Whoever has not read all that was said cannot tell who is silent, or what is missing.
                judged |= {states.SILENT: 0, states.GAP: 0}
                store.settle(connection, gap_us=limits.gap_us, now_us=now_us)
                found += states.silent(connection, limits, now_us=now_us)
                found += states.gaps(connection)
            if differences is not None:
                judged[states.VERIFY] = 0
                found += states.verified(differences)
                connection.execute("UPDATE watch SET verified_at_us = %s", (now_us,))
            changed = changes(_known(connection), found, judged=judged, now_us=now_us)
            _write(connection, changed, now_us=now_us)
            connection.execute("UPDATE watch SET judged_at_us = %s", (now_us,))
        _tell(_known(connection), changed)
        return changed

    def _behind(self, connection: Connection, ear: Ear, *, now_us: int) -> list[Finding]:
        spans = {number: span for (_, number), span in ear.spans().items()}
        ends = {place: span[1] for topic in (PRICED.name, REJECTED.name) for place, span in ear.spans(topic).items()}
        before = ear.appended_before(now_us - self._limits.behind_us, spans)
        due = {}
        for number, (_, end) in spans.items():
            offset = before.get((RAW.name, number), -1)
            due[number] = end if offset < 0 else offset
            self._unseen[number] = states.first_unseen(connection, number, from_offset=self._unseen.get(number, 0))
        return states.behind(due, self._unseen, unread=states.unread(connection, ends), limits=self._limits)

    def _verified(self, connection: Connection, *, now_us: int) -> list[Difference] | None:
        if not self._limits.verify_every_us:
            return None
        row = connection.execute("SELECT verified_at_us FROM watch").fetchone()
        if row is not None and now_us - row[0] >= self._limits.verify_every_us:
            found = self._comparison.take()
            if found is None:
                self._comparison.start()
            return found
        return None


def _known(connection: Connection) -> dict[Subject, Open]:
    rows = connection.execute("SELECT state, about, alert_no, last_seen_at_us FROM alerts WHERE closed_at_us IS NULL")
    return {Subject(state, about): Open(alert_no, last_seen) for state, about, alert_no, last_seen in rows}


def _write(connection: Connection, changed: Changes, *, now_us: int) -> None:
    cursor = connection.cursor()
    cursor.executemany(
        "INSERT INTO alerts (state, about, tenant_id, summary, opened_at_us, last_seen_at_us) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        [(*one.subject, one.tenant_id, one.summary, now_us, now_us) for one in changed.opened],
    )
    cursor.executemany(
        "UPDATE alerts SET summary = %s, last_seen_at_us = %s WHERE alert_no = %s",
        [(one.summary, now_us, number) for number, one in changed.seen],
    )
    connection.execute("UPDATE alerts SET closed_at_us = %s WHERE alert_no = ANY(%s)", (now_us, changed.closed))


def _tell(known: Iterable[Subject], changed: Changes) -> None:
    counts: dict[str, int] = dict.fromkeys(states.STATES, 0)
    for subject in known:
        counts[subject.state] = counts.get(subject.state, 0) + 1
    for state, count in counts.items():
        ALERTS.labels(state).set(count)
    for one in changed.opened:
        log.warning("alert", extra={"facts": {"state": one.subject.state, "about": one.subject.about}})
    if changed.closed:
        log.info("alerts closed", extra={"facts": {"alerts": changed.closed}})
