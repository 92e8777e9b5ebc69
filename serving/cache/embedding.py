"""Texts into vectors beside the event loop: one thread, a bounded queue, the model loaded when the first text comes.

The thread holds the interpreter only between numpy's calls; whoever asks waits on the loop. Without the wheel every
request is told so at once, and everything else goes on.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import threadpoolctl  # type: ignore[import-untyped]
from numpy.typing import NDArray

from ledger.observing import logger
from serving.cache.metrics import EMBEDDING_CPU
from serving.cache.minilm import DIMENSIONS, LONGEST_TOKENS, Model, NoModelError, packaged

Floats = NDArray[np.float32]
T = TypeVar("T")

log = logger("serving.cache.embedding")

_WAITING: Final = 64


class BusyError(Exception):
    """More wait for vectors than may, or none can be made."""


class _Job(NamedTuple):
    texts: list[str]
    then: Callable[[Floats], Any]
    whole: bool = False
    answer: "asyncio.Future[Any] | None" = None
    loop: asyncio.AbstractEventLoop | None = None


_NO_VECTORS: Final[Floats] = np.empty((0, DIMENSIONS), dtype=np.float32)


class Worker:
    """The thread. What it is given runs in the order it came."""

    def __init__(self, *, waiting: int = _WAITING, load: Callable[[], Model] = packaged) -> None:
        self._waiting = waiting
        self._load = load
        self._model: Model | None = None
        self._no_model: NoModelError | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def has_no_model(self) -> bool:
        """Whether it was looked for and is not there."""
        return self._no_model is not None

    async def embed(self, texts: list[str]) -> Floats:
        """One unit vector a text, each of its first 256 tokens. Raises BusyError and NoModelError."""
        return await self.run(texts, lambda vectors: vectors)

    async def run(
        self, texts: list[str], then: Callable[[Floats], T], *, whole: bool = False, waiting: int | None = None
    ) -> T:
        """What `then` makes of the texts' vectors, in the thread. Raises BusyError and NoModelError.

        With `whole`, a text of more than 256 tokens is an OverflowError.
        """
        if self._no_model is not None and texts:
            raise self._no_model
        if self._jobs.qsize() >= (self._waiting if waiting is None else waiting):
            raise BusyError
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._put(_Job(texts, then, whole, answer, loop))
        return await answer

    def post(self, texts: list[str], then: Callable[[Floats], object], *, always: bool = False) -> bool:
        """The same without an answer; whether it was taken. `always` takes what must not be lost."""
        if self._jobs.qsize() >= self._waiting and not always:
            return False
        self._put(_Job(texts, then))
        return True

    def _put(self, job: _Job) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="cache", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def close(self) -> None:
        """Ends when what was taken is done."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(5)

    # In the thread

    def _work(self) -> None:
        # A second thread of BLAS would take the core the event loop runs on, and gains nothing for one short text.
        with threadpoolctl.threadpool_limits(1):
            while (job := self._jobs.get()) is not None:
                if job.answer is None or not job.answer.cancelled():
                    self._do(job)

    def _do(self, job: _Job) -> None:
        try:
            made = job.then(self._vectors(job.texts, whole=job.whole) if job.texts else _NO_VECTORS)
        except (NoModelError, OverflowError) as error:
            _tell(job, partial(_fail, error))
        except Exception:
            log.exception("a defect cost a look-up")
            _tell(job, partial(_fail, BusyError()))
        else:
            _tell(job, lambda answer: answer.set_result(made))

    def same_meaning(self, one: str, other: str) -> float:
        """Cosine similarity of two texts. To be called in the thread. Raises NoModelError."""
        first, second = self._vectors([one, other], whole=False)
        return float(first @ second)

    def _vectors(self, texts: list[str], *, whole: bool) -> Floats:
        if self._no_model is not None:
            raise self._no_model
        if self._model is None:
            try:
                self._model = self._load()
            except NoModelError as error:
                self._no_model = error
                log.warning("no embedding model: the semantic cache is off", extra={"facts": {"error": str(error)}})
                raise
        began_s = time.thread_time()
        tokens = self._model.tokens(texts)
        if whole and max(map(len, tokens)) > LONGEST_TOKENS:
            raise OverflowError
        vectors = self._model.vectors(tokens)
        EMBEDDING_CPU.inc(time.thread_time() - began_s)
        return vectors


def _fail(error: Exception, answer: "asyncio.Future[Any]") -> None:
    answer.set_exception(error)


def _tell(job: _Job, what: Callable[["asyncio.Future[Any]"], None]) -> None:
    answer = job.answer
    if answer is None or job.loop is None:
        return

    def on_loop() -> None:
        if not answer.done():
            what(answer)

    with contextlib.suppress(RuntimeError):  # the loop was closed
        job.loop.call_soon_threadsafe(on_loop)


@cache
def shared() -> Worker:
    """The one of this process: the model is in memory once."""
    return Worker()


async def embed(texts: list[str]) -> Floats:
    """One unit vector a text. Raises BusyError and NoModelError."""
    return await shared().embed(texts)
