"""Personal data and secrets out of a conversation, before it is written anywhere: see docs/lake.md for what is found.

Patterns with checksums and formats of keys find what has a form. Names, addresses and employers have none: they stay,
unless a recogniser that knows them is given.
"""

from ledger.lake.redaction.finding import Finding, Recogniser
from ledger.lake.redaction.redactor import VERSION, Redacted, Redactor

__all__ = ["VERSION", "Finding", "Recogniser", "Redacted", "Redactor"]
