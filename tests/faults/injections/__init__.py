"""Every fault that can be made, by room: what is killed, paused, ended, filled, cut, slowed, starved, doubled."""

from tests.faults.fault import Fault
from tests.faults.injections.disks import DISKS
from tests.faults.injections.jobs import FLINK_JOBS
from tests.faults.injections.killed import KILLS
from tests.faults.injections.memory import MEMORY
from tests.faults.injections.network import NETWORK
from tests.faults.injections.paused import PAUSES
from tests.faults.injections.sessions import SESSIONS
from tests.faults.injections.store import STORE
from tests.faults.injections.writers import WRITERS

ALL: tuple[Fault, ...] = (
    *KILLS,
    *PAUSES,
    *SESSIONS,
    *STORE,
    *WRITERS,
    *FLINK_JOBS,
    *NETWORK,
    *DISKS,
    *MEMORY,
)
"""Every fault. One that needs a disk of its own or a proxy says so by `NotInjected` where the site has none."""
