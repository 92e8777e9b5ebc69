"""Which records keep their texts when they are sent: those of tenants that allow it, and no others."""

from collections.abc import Callable, Iterable, Iterator

from tokenledger.commands.traffic import Message
from tokenledger.readers import value_without_texts


class Capture:
    """Records on their way out, and from whom texts were taken."""

    def __init__(self, allows: Callable[[str], bool]) -> None:
        self._allows = allows
        self.refused: dict[str, int] = {}
        """Tenant that does not allow capture → its records, sent without texts."""

    def kept(self, messages: Iterable[Message]) -> Iterator[Message]:
        """The same records, without the texts that must not leave."""
        for message in messages:
            tenant_id = message.headers.get("ce_tenantid", b"").decode(errors="replace")
            if self._allows(tenant_id):
                yield message
            else:
                self.refused[tenant_id] = self.refused.get(tenant_id, 0) + 1
                yield without_texts(message)

    def report(self, consent: str) -> list[str]:
        """What was taken out, for people."""
        return [
            f"{count:,} records of tenant {tenant_id!r} were sent without texts: {consent} does not allow capture"
            for tenant_id, count in sorted(self.refused.items())
        ]


def without_texts(message: Message) -> Message:
    """The record as a first hop without consent sends it."""
    if message.value is None:
        return message
    return message._replace(value=value_without_texts(message.headers.get("ce_type", b""), message.value))
