"""Every fault that can be made, by room: what is killed, paused, filled, cut, slowed."""

from tests.faults.fault import Fault

ALL: tuple[Fault, ...] = ()
"""Every fault. One that needs a disk of its own or a proxy says so by `NotInjected` where the site has none."""
