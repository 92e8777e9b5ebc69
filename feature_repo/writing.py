"""Writes features into Redis as Feast would: many entities in one pipeline, each in one HSET."""

from collections.abc import Sequence
from typing import Any, Final, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.rows import Hash
from feature_repo.settings import PROJECT, RedisSettings

_MARK: Final = f"pusher:{PROJECT}"
"""Stands in Redis as long as what was written stands there."""
_ANSWER_WITHIN_S: Final = 2.0
_KNOWN_KEYS: Final = 100_000


class OnlineStore:
    """Redis as the pusher sees it. Every method raises redis.RedisError when Redis is away."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._redis: Redis | None = None
        self._clean: set[bytes] = set()

    def lost(self) -> bool:
        """Whether Redis has forgotten what was written, as it does when it is started anew or flushed. Asked once."""
        lost = self._connected().set(_MARK, 1, nx=True, get=True) is None
        if lost:
            self._clean.clear()
        return lost

    def write(self, hashes: Sequence[Hash]) -> None:
        """All of them, newer or not: one process writes, and it knows which telling of a minute counts."""
        fresh = [one for one in hashes if one.key not in self._clean]
        with self._connected().pipeline(transaction=False) as pipeline:
            for one in fresh:
                pipeline.hkeys(cast("str", one.key))
            for one in hashes:
                pipeline.hset(cast("str", one.key), mapping=cast("dict[str | bytes, bytes]", one.fields))
                pipeline.pexpire(one.key, one.keep_us // 1000)
            answers = pipeline.execute()
        self._remove_leftovers(fresh, answers)

    def _remove_leftovers(self, fresh: Sequence[Hash], answers: list[Any]) -> None:
        """A field that no view has any more would look as fresh as its neighbours to a reader that still knows it."""
        leftovers = [(one.key, set(there) - one.owned) for one, there in zip(fresh, answers, strict=False)]
        with self._connected().pipeline(transaction=False) as pipeline:
            for key, fields in leftovers:
                if fields:
                    pipeline.hdel(cast("str", key), *cast("set[str]", fields))
            pipeline.execute()
        if len(self._clean) > _KNOWN_KEYS:
            self._clean.clear()
        self._clean.update(one.key for one in fresh)

    def close(self) -> None:
        """Leave Redis alone."""
        if self._redis is not None:
            self._redis.close()
            self._redis = None

    def _connected(self) -> Redis:
        if self._redis is None:
            self._redis = client(self._settings)
        return self._redis


def client(settings: RedisSettings) -> Redis:
    """A client with short timeouts; it connects when it is first used."""
    place: dict[str, Any] = (
        {"unix_socket_path": settings.socket} if settings.socket else {"host": settings.host, "port": settings.port}
    )
    return Redis(
        **place,
        username=settings.user if settings.password_file else None,
        password=settings.password() or None,
        socket_timeout=_ANSWER_WITHIN_S,
        socket_connect_timeout=_ANSWER_WITHIN_S,
        # The pusher tries again by itself, with newer features.
        retry=Retry(NoBackoff(), 0),
    )
