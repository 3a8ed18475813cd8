"""The ladder of student weights of a route, and the machine that climbs it and retreats. Start at `step.py`."""
