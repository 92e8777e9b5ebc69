"""What answers requests: the gateway, and the simulated upstreams it is proven against."""
