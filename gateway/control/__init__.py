"""The control plane: the one door through which a route is changed, and the watch that makes changes live."""
