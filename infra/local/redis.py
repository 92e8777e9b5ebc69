"""Redis as the feature store needs it: one unix socket, logins that may do little, nothing on disk. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.local.layout import Layout

KEYS = "*tokenledger"
"""Feast ends every key with the project's name."""

USERS: Mapping[str, tuple[str, ...]] = {
    "pusher": (
        f"~{KEYS}",
        "+hset",
        "+hdel",
        "+hkeys",
        "+hmget",
        "+hgetall",
        "+pexpire",
        "+expire",
        "+get",
        "+set",
        "+ping",
        "+select",
    ),
    "gateway": (f"%R~{KEYS}", "+hmget", "+hgetall", "+ping", "+select"),
}
"""Login → the keys it may touch and the commands it may give. No other login exists, and nobody may administer."""


def redis_conf(layout: Layout) -> str:
    """Features come back from Kafka and the ledger within a minute, so nothing is written to disk."""
    settings = {
        "port": 0,
        "unixsocket": layout.redis_socket,
        "unixsocketperm": 700,
        "aclfile": layout.config / "redis-users.acl",
        "dir": layout.run,
        "daemonize": "no",
        "save": '""',
        "appendonly": "no",
        # A key is about 2 KB: room for a hundred thousand entities. Every key expires, and the one that would do so
        # soonest was written longest ago: nobody's router misses it first.
        "maxmemory": "256mb",
        "maxmemory-policy": "volatile-ttl",
        # Entities that nobody writes any more are freed without stalling a read.
        "lazyfree-lazy-expire": "yes",
        "lazyfree-lazy-eviction": "yes",
        "maxclients": 256,
        "timeout": 0,
        "tcp-keepalive": 60,
        "loglevel": "notice",
        "logfile": '""',
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def users_acl(passwords: Mapping[str, str]) -> str:
    """The ACL file. It holds hashes, so that reading it gives nobody a password."""
    lines = ["user default reset off"]
    for name, rules in USERS.items():
        digest = hashlib.sha256(passwords[name].encode()).hexdigest()
        lines.append(f"user {name} reset on #{digest} -@all {' '.join(rules)}")
    return "".join(f"{line}\n" for line in lines)
