"""Checks of answers: what is wrong with one by itself, and whether two of them differ. See `check.py`."""
