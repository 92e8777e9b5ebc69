"""Redis loses everything at once: the router must go on with defaults, and the ledger not notice."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis import Redis, RedisError

from tests.faults.fault import NotInjected
from tests.faults.injections.making import made

if TYPE_CHECKING:
    import random

    from tests.faults.fault import Injected, Site

_USER = "faults"


@dataclass(frozen=True, slots=True)
class Flush:
    """FLUSHALL, by a login of its own: the product has none that may."""

    name: str = "flush_redis"
    code: str = "F6"

    def inject(self, site: Site, _dice: random.Random) -> Injected:
        """Empty at once; what the pusher writes afterwards is new."""
        began_ns = time.time_ns()
        site.pid("redis")
        try:
            with _admin(site) as admin:
                keys = int(str(admin.dbsize()))
                admin.flushall()
                left = int(str(admin.dbsize()))
        except RedisError as error:
            message = f"redis: FLUSHALL was refused: {error}"
            raise NotInjected(message) from error
        return made(self, "redis", began_ns, f"FLUSHALL of {keys} keys, {left} right after it")


def admit(site: Site) -> None:
    """Give Redis the login, which takes a new start, once for a site."""
    with (site.layout.config / "redis-users.acl").open("a", encoding="utf-8") as users:
        users.write(f"user {_USER} on >{_USER} ~* +@all\n")
    site.stack.restart("redis")


def _admin(site: Site) -> Redis:
    users = (site.layout.config / "redis-users.acl").read_text(encoding="utf-8")
    if f"user {_USER} " not in users:
        admit(site)
    return Redis(unix_socket_path=str(site.layout.redis_socket), username=_USER, password=_USER)


STORE = (Flush(),)
