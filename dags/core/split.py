"""Which side of a split a row is on: by hash of its conversation or user, whatever else there is."""

import hashlib
from typing import Final

from dags.core.recipe import Split
from tokenledger.records.texts import CapturedText

_BITS: Final = 64


def split_key(text: CapturedText, split: Split) -> str:
    """What is never divided: the conversation or the user, else the operation, else the call; of one tenant."""
    ids = (("conversation", text.conversation_id), ("user", text.user_hash))
    first, second = ids if split.by == "conversation" else ids[::-1]
    named = (first, *((second,) if split.by == "user" else ()), ("operation", text.operation_id))
    kind, found = next(((kind, found) for kind, found in named if found), ("call", text.event_key))
    return f"{text.tenant_id}\0{kind}\0{found}"


def side(key: str, split: Split) -> str:
    """The side. It depends on the key, the salt and the weights, in whatever order the sides are written."""
    digest = hashlib.sha256(f"{split.salt}\0{key}".encode(errors="surrogatepass")).digest()
    drawn = int.from_bytes(digest[: _BITS // 8], "big")
    total, upto = sum(split.parts.values()), 0
    for name, weight in sorted(split.parts.items()):
        upto += weight
        if drawn * total < upto << _BITS:
            return name
    raise AssertionError(split.parts)
