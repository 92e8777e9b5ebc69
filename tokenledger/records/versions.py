"""Which version of each reading is today's: raised when a misreading is mended, so that older calls can be found.

A dialect that is mended gets a line here, one greater than before; `tokenledger reread` then finds the calls that were
read by the older version and shows what the mending changes before anything is charged anew.
"""

from typing import Final

FIRST: Final = 1
"""The version of a reading that was never mended."""

READING_VERSIONS: Final[dict[str, int]] = {
    # A count that was not stated is no longer read as zero.
    "cohere.tokens": 2,
    "langchain.message": 2,
    "langchain.message.exclusive": 2,
    "litellm": 2,
    "mistral.conversation": 2,
    "watsonx": 2,
}
"""Name of a reading (`usage_reading`) → its version; FIRST where it is not named."""


def reading_version(usage_reading: str) -> int:
    """Today's version of a reading."""
    return READING_VERSIONS.get(usage_reading, FIRST)
