"""Log dialects by `ce_type`: records that are not call envelopes but another system's log of one call."""

from collections.abc import Callable
from typing import Final, TypeAlias

from tokenledger.normalise.envelope import Envelope
from tokenledger.normalise.litellm import PAYLOAD_TYPE, read_payload
from tokenledger.normalise.otel import SPAN_TYPE, read_span
from tokenledger.normalise.reading import Reading

LogReader: TypeAlias = Callable[[bytes], tuple[Envelope, Reading, list[str]]]
"""The log record's bytes → what its envelope would have been, its Reading, and anomalies. Raises BadRecordError."""

LOG_TYPES: Final[dict[str, LogReader]] = {SPAN_TYPE: read_span, PAYLOAD_TYPE: read_payload}
"""`ce_type` → reader."""
