"""Every fault that can be made, by room: what is killed, paused, ended, filled, cut, slowed."""

from tests.faults.fault import Fault
from tests.faults.injections.killed import KILLS
from tests.faults.injections.paused import PAUSES
from tests.faults.injections.sessions import SESSIONS

ALL: tuple[Fault, ...] = (*KILLS, *PAUSES, *SESSIONS)
"""Every fault. One that needs a disk of its own or a proxy says so by `NotInjected` where the site has none."""
