"""The thread that writes what was kept, looks for what other processes kept or purged, and reads written answers."""

import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from ledger.observing import logger
from serving.cache import metrics
from serving.cache.store import Change, News, Store
from serving.cache.written import BadAnswersError, Book, book_of

log = logger("serving.cache.keeper")

_GATHER_S: Final = 0.2
_MOST_WAITING: Final = 20_000
_PRUNE_EVERY_S: Final = 60.0
_KEPT_US: Final = 30 * 86_400 * 1_000_000
_TOML: Final = ".toml"


class Files(NamedTuple):
    """Where things are."""

    folder: Path
    faq_folder: Path | None


class Told(NamedTuple):
    """Who is told, in this thread."""

    news: Callable[[News], None]
    books: Callable[[dict[str, Book]], None]


class Keeper:
    """The store's one user in this process."""

    def __init__(self, files: Files, *, tenant_entries: int, refresh_s: float, told: Told) -> None:
        self._files = files
        self._tenant_entries = tenant_entries
        self._refresh_s = refresh_s
        self._told = told
        self._changes: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._stamps: dict[str, tuple[int, int]] = {}
        self._books: dict[str, Book] = {}
        self._pruned_s = 0.0
        self._thread = threading.Thread(target=self._run, name="cache-keeper", daemon=True)
        self.loaded = threading.Event()
        """Set when what was there at the start has been told."""

    def start(self) -> None:
        """The thread begins."""
        self._thread.start()

    def put(self, change: Change) -> None:
        """To be written soon. Does not wait."""
        if self._changes.qsize() < _MOST_WAITING:
            self._changes.put(change)
        else:
            metrics.LOST.inc()

    def close(self) -> None:
        """What was put is written."""
        if self._thread.is_alive():
            self._changes.put(None)
            self._thread.join(5)

    # In the thread

    def _run(self) -> None:
        store = self._opened()
        while store is not None:
            self._look(store)
            self.loaded.set()
            if not self._write_for(store, self._refresh_s):
                store.close()
                return

    def _opened(self) -> Store | None:
        """The store, tried again and again; None when told to end."""
        while True:
            try:
                return Store(self._files.folder)
            except (OSError, sqlite3.Error) as error:
                log.warning("the cache's store cannot be opened", extra={"facts": {"error": str(error)}})
                if not self._discard_for(self._refresh_s * 10):
                    return None

    def _discard_for(self, wait_s: float) -> bool:
        """Nothing can be written; false when told to end."""
        deadline_s = time.monotonic() + wait_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                if self._changes.get(timeout=left_s) is None:
                    return False
            except queue.Empty:
                return True
            metrics.LOST.inc()
        return True

    def _write_for(self, store: Store, wait_s: float) -> bool:
        """Batches, for so long; false when told to end."""
        deadline_s = time.monotonic() + wait_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                batch = [self._changes.get(timeout=left_s)]
            except queue.Empty:
                return True
            if batch[0] is not None:
                time.sleep(min(_GATHER_S, max(left_s, 0)))
            while not self._changes.empty():
                batch.append(self._changes.get())
            self._write(store, [change for change in batch if change is not None])
            if None in batch:
                return False
        return True

    def _write(self, store: Store, batch: list[Change]) -> None:
        try:
            store.write(batch)
        except sqlite3.Error as error:
            metrics.LOST.inc(len(batch))
            log.warning("answers were not written", extra={"facts": {"error": str(error), "changes": len(batch)}})

    def _look(self, store: Store) -> None:
        try:
            if time.monotonic() - self._pruned_s > _PRUNE_EVERY_S:
                self._pruned_s = time.monotonic()
                store.prune(tenant_entries=self._tenant_entries, oldest_us=time.time_ns() // 1_000 - _KEPT_US)
            news = store.news()
        except sqlite3.Error as error:
            log.warning("the cache's store was not read", extra={"facts": {"error": str(error)}})
        else:
            if any(news):
                self._told.news(news)
        if self._files.faq_folder is not None and self._read_books(self._files.faq_folder):
            self._told.books(dict(self._books))

    def _read_books(self, folder: Path) -> bool:
        """Whether any tenant's written answers changed. A wrong file changes nothing."""
        found = {path.stem: path for path in folder.glob(f"*{_TOML}")} if folder.is_dir() else {}
        changed = False
        for tenant_id in self._books.keys() - found.keys():
            del self._books[tenant_id], self._stamps[tenant_id]
            changed = True
        for tenant_id, path in found.items():
            try:
                stat = path.stat()
                stamp = (stat.st_mtime_ns, stat.st_size)
                if self._stamps.get(tenant_id) == stamp:
                    continue
                self._stamps[tenant_id] = stamp
                self._books[tenant_id] = book_of(path.read_text(encoding="utf-8"))
                changed = True
            except (OSError, UnicodeDecodeError, BadAnswersError) as error:
                log.warning("written answers not taken", extra={"facts": {"file": path.name, "error": str(error)}})
        return changed
