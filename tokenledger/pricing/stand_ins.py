"""Whose rate is used for a meter that has none of its own, nearest first, and whether that is worth a word.

Derived from `priced_as` of the meter registry, with two steps more: a cached token is nearest to cached text of the
same lifetime, and nearer to its own modality's fresh token than to fresh text.
"""

from typing import Final

from tokenledger.records.meters import METERS


def _chain(meter_id: str) -> tuple[tuple[str, bool], ...]:
    steps: list[tuple[str, bool]] = []
    flagged = False
    own_modality = ".".join(meter_id.split(".")[:2])
    same_in_text = meter_id.replace(own_modality, "input.text", 1)
    meter = METERS[meter_id]
    if meter_id.startswith("input.") and own_modality not in {meter_id, "input.text"}:
        steps.append((same_in_text, False))
    while meter.priced_as is not None:
        flagged = flagged or meter.flagged
        if meter.priced_as == "input.text" and own_modality not in {meter_id, "input.text"}:
            steps.append((own_modality, flagged))
        if meter.priced_as != same_in_text or not steps:
            steps.append((meter.priced_as, flagged))
        meter = METERS[meter.priced_as]
    return tuple(steps)


STAND_INS: Final[dict[str, tuple[tuple[str, bool], ...]]] = {meter_id: _chain(meter_id) for meter_id in METERS}
"""Meter → (stand-in meter, whether its use is named in `rate_fallbacks`), in the order they are tried."""
