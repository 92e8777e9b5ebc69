"""The gateway, the simulator and the router."""
