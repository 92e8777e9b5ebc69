"""What psycopg is taught: keys as one argument, which it would make objects of, and numbers as they are written."""

from decimal import Decimal
from struct import pack
from typing import Any, Final

import msgspec
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format


class KeyArray(bytes):
    """Keys, joined, to be sent as uuid[]."""

    __slots__ = ()


class KeyArrayDumper(Dumper):
    """Writes them as an array of 128-bit numbers."""

    format = Format.BINARY
    oid = 2951  # uuid[]

    def dump(self, obj: bytes) -> bytes:
        """Write them."""
        count = len(obj) // 16
        head = pack(">iiiii", 1, 0, 2950, count, 1)
        size = pack(">i", 16)
        return head + b"".join([size + obj[at : at + 16] for at in range(0, len(obj), 16)])


class ExactJsonLoader(Loader):
    """Numbers as they are written: amounts within a provider's usage object are no floats."""

    def load(self, data: Buffer) -> Any:
        """Read it."""
        return _exactly(bytes(data))


_exactly: Final = msgspec.json.Decoder(float_hook=Decimal).decode
encode_exactly: Final = msgspec.json.Encoder(decimal_format="number").encode
