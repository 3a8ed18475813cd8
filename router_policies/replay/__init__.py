"""What a changed config would have done to the requests of a log. Start at `replay.py`."""
