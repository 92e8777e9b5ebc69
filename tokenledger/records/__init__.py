"""The records that travel the platform: the one definition of every field, with its unit and meaning."""

from tokenledger.records.call import Call, ModelShare, Timings
from tokenledger.records.priced import Latency, Line, PricedCall
from tokenledger.records.raw import RawEvent
from tokenledger.records.reasons import Anomaly, Reason
from tokenledger.records.rejected import Rejected

__all__ = [
    "Anomaly",
    "Call",
    "Latency",
    "Line",
    "ModelShare",
    "PricedCall",
    "RawEvent",
    "Reason",
    "Rejected",
    "Timings",
]
