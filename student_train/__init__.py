"""The school: from what a gateway captured to a teaching set, from a teaching set to a student and a report on it."""
