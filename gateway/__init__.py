"""The body: HTTP in and out, stores, telemetry, the command line. It asks `router_policies` what to do and does it."""

__version__ = "0.1.0"
