"""Whether two answers mean the same, by their vectors. An edge: vectors are made beside the event loop."""

from collections.abc import Awaitable, Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.cache.embedding import BusyError
from serving.cache.embedding import embed as packaged
from serving.cache.minilm import NoModelError
from serving.gateway import cascade_metrics as metrics

Embed = Callable[[list[str]], Awaitable[NDArray[np.float32]]]
"""One unit vector a text. Raises BusyError and NoModelError."""

_LONGEST_CHARS: Final = 4_000


async def mean_the_same(first: str, second: str, *, embed: Embed | None, least_similarity: float) -> bool:
    """Whether their vectors are near enough; what cannot be compared does not agree."""
    try:
        one, other = await (embed or packaged)([first[:_LONGEST_CHARS], second[:_LONGEST_CHARS]])
    except (BusyError, NoModelError):
        metrics.UNCOMPARED.inc()
        return False
    return float(one @ other) >= least_similarity
