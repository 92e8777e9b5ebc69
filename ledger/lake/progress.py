"""How far the archive is, in the lake itself: one small file a partition, replaced when a range of records is whole.

Its replacement is the instant at which a range counts. Files of the range are written beside their places before, and
renamed into them after; what a crash leaves between the two is finished at the next start, and anything else that was
being written is removed. So a reader never sees a part of a range that will be written again.
"""

from pathlib import Path, PurePosixPath

import msgspec

from ledger.lake import files
from ledger.lake.layout import PROGRESS, TABLES
from ledger.lake.locking import LakeError


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one partition is archived."""

    topic: str
    """Topic."""
    partition: int
    """Partition."""
    topic_uuid: str
    """Id of the topic, so that another of the same name is not read on with its offsets; empty if not known."""
    first_offset: int
    """Where the log began when it was first read."""
    next_offset: int
    """The first record that is not yet in the lake."""
    published: list[str] = []
    """Files of the last range, from the lake's root."""


def path_of(lake: Path, topic: str, *, partition: int) -> Path:
    """The partition's file."""
    return lake / PROGRESS / f"{topic}-{partition}.json"


def read_progress(lake: Path) -> dict[tuple[str, int], Progress]:
    """Every partition's. Raises LakeError for a file that is none."""
    found = {}
    for path in sorted((lake / PROGRESS).glob("*.json")):
        try:
            one = msgspec.json.decode(path.read_bytes(), type=Progress)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"{path}: {error}; restore it, or say where to read on from by hand"
            raise LakeError(message) from None
        found[one.topic, one.partition] = one
    return found


def commit(lake: Path, progress: Progress) -> None:
    """From now on the range counts; its files take their places."""
    text = msgspec.json.format(msgspec.json.encode(progress), indent=1).decode()
    files.replace_text(path_of(lake, progress.topic, partition=progress.partition), text + "\n")
    files.publish(lake, [PurePosixPath(name) for name in progress.published])


def recover(lake: Path) -> dict[tuple[str, int], Progress]:
    """Finish what a crash left half done, and remove what it left undone."""
    found = read_progress(lake)
    for one in found.values():
        files.publish(lake, [PurePosixPath(name) for name in one.published])
    for partial in files.partials(lake):
        partial.unlink()
    _refuse_without_progress(lake, found)
    return found


def _refuse_without_progress(lake: Path, found: dict[tuple[str, int], Progress]) -> None:
    # A crash within the very first range leaves folders, but no file.
    if not found and any(files.files_in(lake, place) for table in TABLES for place in files.places(lake, table)):
        message = (
            f"{lake} has rows but no {PROGRESS}/: restore that folder, or move the rows away to archive the topics anew"
        )
        raise LakeError(message)
