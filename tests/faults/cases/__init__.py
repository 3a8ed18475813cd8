"""Every case of the scorecard, in the order in which its table lists them."""

from tests.faults.cases import (
    bodies,
    connections,
    leaving,
    load,
    races,
    refusals,
    rescues,
    statuses,
    streams,
    verifying,
)

GROUPS = (
    ("Statuses that may pass", statuses.CASES),
    ("Connections and silence", connections.CASES),
    ("Answers that are none", bodies.CASES),
    ("Refusals", refusals.CASES),
    ("Streams that break", streams.CASES),
    ("Rescue in mid-answer", rescues.CASES),
    ("Hedges and held-back tokens", races.CASES),
    ("Answers that fail their check", verifying.CASES),
    ("Callers that leave", leaving.CASES),
    ("Load and flapping", load.CASES),
)
CASES = tuple(case for _, cases in GROUPS for case in cases)
