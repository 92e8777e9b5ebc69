"""End users in the lake: a keyed hash stands for each, so that a person's rows can be found and no name be read."""

import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path

_KEY_BYTES = 32


class Users:
    """Hashes under one key. Whoever has the key can tell which hash is whose, nobody else."""

    def __init__(self, key: bytes) -> None:
        if len(key) < _KEY_BYTES:
            message = f"the lake's user key has {len(key)} bytes; at least {_KEY_BYTES} would be right"
            raise ValueError(message)
        self._key = key

    def hash_of(self, tenant_id: str, user_id: str | None) -> str | None:
        """32 hex digits; two tenants' users of one name differ."""
        if user_id is None:
            return None
        said = tenant_id.encode() + b"\0" + user_id.encode()
        return hmac.new(self._key, said, sha256).hexdigest()[:32]


def read_key(path: Path) -> bytes:
    """The key in a file that only its owner reads; made where there is none."""
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        pass
    except ValueError:
        message = f"{path}: not a key; {2 * _KEY_BYTES} hex digits would be right"
        raise ValueError(message) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    made = secrets.token_bytes(_KEY_BYTES)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_key(path)  # somebody else made it meanwhile
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(made.hex())
        file.flush()
        os.fsync(file.fileno())
    return made
