"""The caches of one process, in the order they are asked: the same request, written answers, other words.

The first two are answered on the event loop in microseconds. The third is asked in a thread of its own and waited for
so long and no longer; what it cannot do in time, a model does.
"""

import asyncio
import contextlib
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

import msgspec

from serving.cache import metrics
from serving.cache.asking import Asking, around, asking_of
from serving.cache.budget import Rate
from serving.cache.configuration import CacheSettings, RouteCache
from serving.cache.eligibility import Wish, forbidden, wish_of
from serving.cache.embedding import BusyError, Worker, shared
from serving.cache.exact import Exact, Kept, Purge
from serving.cache.keeper import Files, Keeper, Told
from serving.cache.learned import Learned
from serving.cache.minilm import NoModelError
from serving.cache.partition import exact_key, semantic_key
from serving.cache.records import Hit, Kind, Miss, Question, Reason
from serving.cache.replies import answer_of, given_again, kept_form, written
from serving.cache.semantic import Asked, Draw, Floats, Met
from serving.cache.store import News
from serving.cache.written import Book, found_in

_US: Final = 1_000_000
_LONGEST_QUESTION_CHARS: Final = 1_200
"""About 256 tokens of English. A question the model cannot read whole is never compared by its beginning."""
_DRAWN: Final = 4_096
_PURGES: Final = 1_000
_ALONE: Final = frozenset({"user", "system", "developer"})
_OFF: Final = Miss(reason="off")


class Ticket(NamedTuple):
    """What is needed to keep an answer that is still to be made."""

    question: Question
    rules: RouteCache
    key: bytes
    knowledge: str
    asked: Asked | None = None
    met: Met | None = None
    vector: Floats | None = None


class Caches:
    """One process's caches. Used on one event loop."""

    def __init__(
        self,
        settings: CacheSettings,
        routes: Mapping[str, RouteCache],
        *,
        worker: Worker | None = None,
        draw: Draw = random.random,
    ) -> None:
        self._settings = settings
        self._routes = dict(routes)
        self.worker = worker or shared()
        """The thread of the semantic cache."""
        self._exact = Exact(tenant_entries=settings.tenant_entries, total_bytes=settings.total_bytes)
        metrics.ANSWERS.set_function(lambda: len(self._exact))
        metrics.BYTES.set_function(lambda: self._exact.bytes)
        self._books: dict[str, Book] = {}
        self._purges: list[Purge] = []
        self._drawn: OrderedDict[str, Ticket] = OrderedDict()
        self._keeper = Keeper(
            Files(Path(settings.folder), Path(settings.faq_folder) if settings.faq_folder else None),
            tenant_entries=settings.tenant_entries,
            refresh_s=settings.refresh_ms / 1_000,
            told=Told(self._on_news, self._on_books),
        )
        self._learned = Learned(tenant_rows=settings.tenant_entries, put=self._keeper.put, draw=draw)
        self._loop: asyncio.AbstractEventLoop

    async def start(self) -> None:
        """Begin to read what was kept before; requests are answered meanwhile, by models."""
        self._loop = asyncio.get_running_loop()
        self._keeper.start()
        self._warm()

    async def loaded(self) -> None:
        """Returns when what was kept before is known."""
        await asyncio.to_thread(self._keeper.loaded.wait)
        await asyncio.sleep(0)
        await self.worker.run([], lambda _none: None)

    def draw_with(self, draw: Draw) -> None:
        """From now on, hits are drawn by this."""
        self._learned.draw = draw

    def rates(self) -> dict[tuple[str, str], Rate]:
        """How often semantic hits were wrong, by tenant and route."""
        return self._learned.semantic.rates()

    def adopt(self, routes: Mapping[str, RouteCache]) -> None:
        """From now on, routes follow these rules."""
        self._routes = dict(routes)
        self._warm()

    def _warm(self) -> None:
        """Have the model loaded before somebody waits for it."""
        if any(rules.semantic for rules in self._routes.values()):
            self.worker.post(["warm"], lambda _vectors: None)

    async def close(self) -> None:
        """What was kept is on disk."""
        await asyncio.to_thread(self._keeper.close)

    # Look-up

    async def look_up(self, question: Question) -> Hit | Miss:
        """The answer, or why there is none. Bounded in time; never raises for what a caller sent."""
        rules = self._routes.get(question.route)
        if rules is None:
            return _OFF
        wish = wish_of(question.wish)
        key = exact_key(question, rules, knowledge=wish.knowledge)
        oldest_us = _oldest_us(question, rules, wish=wish)
        if rules.exact and wish.look_up:
            kept = self._exact.get(question.tenant_id, key, oldest_us=oldest_us)
            if kept is not None:
                return _hit("exact", kept, question=question)
        found = await self._look_further(question, rules, wish=wish, key=key, oldest_us=oldest_us)
        if isinstance(found, Miss):
            metrics.misses(question.route, found.reason).inc()
        return found

    async def _look_further(
        self, question: Question, rules: RouteCache, *, wish: Wish, key: bytes, oldest_us: int
    ) -> Hit | Miss:
        if not wish.look_up and not wish.keep:
            return Miss(reason="opted_out")
        asking = asking_of(question.members["messages"]) if "messages" in question.members else None
        why = forbidden(question.members, asking, rules=rules)
        if why is not None or asking is None:
            return Miss(reason=why or "no_question")
        ticket = Ticket(question, rules, key, wish.knowledge)
        if not wish.look_up:
            return Miss(reason="opted_out", ticket=ticket)
        if rules.static and (answer := self._written(question, asking)) is not None:
            return answer
        if not rules.semantic or not wish.semantic:
            return Miss(reason="unknown", ticket=ticket if wish.keep else None)
        asked = Asked(
            question.tenant_id,
            question.route,
            semantic_key(question, rules, knowledge=wish.knowledge, around=around(question.members["messages"])),
            asking.question,
            question.at_us,
            max(rules.least_similarity, wish.least_similarity),
            oldest_us,
        )
        return await self._meet(ticket._replace(asked=asked), keep=wish.keep)

    def _written(self, question: Question, asking: Asking) -> Hit | None:
        """Somebody's own words, to a question that stands alone and wants plain text."""
        book = self._books.get(question.tenant_id)
        if book is None or not asking.roles <= _ALONE or asking.turns > 1:
            return None
        if any(
            bytes(question.members.get(name, msgspec.Raw(b"null"))) != b"null" for name in ("response_format", "tools")
        ):
            return None
        answer = found_in(book, asking.question, route=question.route, app=question.app)
        if answer is None:
            return None
        metrics.hits(question.route, "static").inc()
        reply = given_again(written(answer.answer, question.route), hit_id=uuid4().hex, at_us=question.at_us)
        return Hit(kind="static", entry_id=answer.id, reply=reply, provider="tokenledger", model=question.route)

    async def _meet(self, ticket: Ticket, *, keep: bool) -> Hit | Miss:
        """The semantic cache, for as long as may be waited."""
        asked = ticket.asked
        assert asked is not None  # noqa: S101  (whoever calls has made it)
        began_s = time.perf_counter()
        reason: Reason
        try:
            if len(asked.text) > _LONGEST_QUESTION_CHARS:
                return _missed("too_long", ticket, keep=keep)
            async with asyncio.timeout(self._settings.look_up_ms / 1_000):
                vector, met, kept = await self.worker.run(
                    [asked.text], lambda vectors: self._learned.meet(asked, vectors[0], rules=ticket.rules), whole=True,
                    waiting=self._settings.waiting,
                )  # fmt: skip
        except NoModelError:
            metrics.MODEL_ABSENT.set(1)
            reason = "no_model"
        except BusyError:
            reason = "busy"
        except OverflowError:
            reason = "too_long"
        except TimeoutError:
            reason = "too_late"
        else:
            ticket = ticket._replace(met=met, vector=vector)
            if kept is not None and met.candidate is not None:
                return self._semantic_hit(ticket, kept, met=met, similarity=met.candidate.similarity)
            reason = met.reason or "unknown"
        finally:
            metrics.SEMANTIC_SECONDS.observe(time.perf_counter() - began_s)
        return _missed(reason, ticket, keep=keep)

    def _semantic_hit(self, ticket: Ticket, kept: Kept, *, met: Met, similarity: float) -> Hit:
        if met.verify:
            self._drawn[ticket.question.operation_id] = ticket
            if len(self._drawn) > _DRAWN:
                self._drawn.popitem(last=False)
        hit = _hit("semantic", kept, question=ticket.question)
        return msgspec.structs.replace(hit, similarity=similarity, verify=met.verify)

    # Keeping

    def offer(self, miss: Miss, reply: bytes, *, provider: str, model: str) -> None:
        """A whole, successful, verified reply to a question that missed. Does not wait."""
        ticket = miss.ticket
        if not isinstance(ticket, Ticket):
            return
        answer = answer_of(reply) if len(reply) <= ticket.rules.reply_bytes else None
        if answer is None:
            metrics.NOT_KEPT.labels("too_large" if len(reply) > ticket.rules.reply_bytes else "not_plain").inc()
            return
        question = ticket.question
        kept = Kept(
            uuid4().hex, question.tenant_id, question.route, ticket.key,
            f"{ticket.rules.knowledge_version}\n{ticket.knowledge}", kept_form(reply), provider, model, question.at_us,
        )  # fmt: skip
        if any(purge.concerns(kept) for purge in self._purges):
            metrics.NOT_KEPT.labels("purged").inc()
            return
        metrics.KEPT.inc()
        self._exact.put(kept)
        self._keeper.put(kept)
        asked, met, vector = ticket.asked, ticket.met, ticket.vector
        if asked is not None and met is not None and vector is not None:
            self.worker.post(
                [], lambda _none: self._learned.keep(asked, met, vector=vector, kept=kept, rules=ticket.rules,
                                                     same=self.worker.same_meaning)
            )  # fmt: skip

    def verified(self, question: Question, hit: Hit, *, reply: bytes) -> None:
        """What the model says to a question that a hit answered. Does not wait."""
        ticket = self._drawn.pop(question.operation_id, None)
        answer = answer_of(reply)
        if ticket is None or ticket.asked is None or ticket.met is None or answer is None or hit.kind != "semantic":
            return
        asked, met = ticket.asked, ticket.met
        self.worker.post(
            [], lambda _none: self._learned.check(asked, met, answer=answer, rules=ticket.rules,
                                                  same=self.worker.same_meaning)
        )  # fmt: skip

    # What other processes did

    def _on_news(self, news: News) -> None:
        """In the keeper's thread."""
        self._call(lambda: self._take(news))
        self.worker.post([], lambda _none: self._learned.take(news, dict(self._routes)), always=True)

    def _on_books(self, books: dict[str, Book]) -> None:
        """In the keeper's thread."""
        self._call(lambda: setattr(self, "_books", books))

    def _take(self, news: News) -> None:
        self._purges = [*self._purges, *news.purges][-_PURGES:]
        for kept in news.answers:
            self._exact.put(kept)
        for purge in news.purges:
            self._exact.purge(purge)

    def _call(self, what: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(what)


def _hit(kind: Kind, kept: Kept, *, question: Question) -> Hit:
    metrics.hits(question.route, kind).inc()
    return Hit(
        kind=kind,
        entry_id=kept.answer_id,
        reply=given_again(kept.reply, hit_id=uuid4().hex, at_us=question.at_us),
        provider=kept.provider,
        model=kept.model,
        stored_at_us=kept.at_us,
    )


def _missed(reason: Reason, ticket: Ticket, *, keep: bool) -> Miss:
    return Miss(reason=reason, ticket=ticket if keep else None)


def _oldest_us(question: Question, rules: RouteCache, *, wish: Wish) -> int:
    longest_s = rules.ttl_s if wish.longest_age_s is None else min(rules.ttl_s, wish.longest_age_s)
    return question.at_us - longest_s * _US


def open_cache(settings: CacheSettings, routes: Mapping[str, RouteCache]) -> Caches:
    """The caches of this process; `await start()` before the first request, `await close()` after the last."""
    return Caches(settings, routes)
