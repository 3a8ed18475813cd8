"""The commands of the school: `gateway.cli` finds them by their entry points."""
