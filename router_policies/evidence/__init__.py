"""What may be concluded from pairs of answers, looked at after every pair. Start at `evidence.py`."""
