"""Keys as one argument of a statement: psycopg would make an object of every one."""

from struct import pack

from psycopg.adapt import Dumper
from psycopg.pq import Format


class KeyArray(bytes):
    """Keys, joined, to be sent as uuid[]."""

    __slots__ = ()


class KeyArrayDumper(Dumper):
    """Writes them as an array of 128-bit numbers."""

    format = Format.BINARY
    oid = 2951  # uuid[]

    def dump(self, obj: bytes) -> bytes:
        count = len(obj) // 16
        head = pack(">iiiii", 1, 0, 2950, count, 1)
        size = pack(">i", 16)
        return head + b"".join([size + obj[at : at + 16] for at in range(0, len(obj), 16)])


class _ExactJsonLoader(Loader):
    """Numbers as they are written: amounts within a provider's usage object are no floats."""

    def load(self, data: Buffer) -> Any:
        return _exactly(bytes(data))


_exactly: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
