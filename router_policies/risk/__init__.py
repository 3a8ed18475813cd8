"""How risky a request is, before any model has seen it, and who may answer it then. Start at `rules.py`."""
