"""The teaching set: captured, scrubbed, sampled from teachers, split, ledgered."""
