"""The brain: pure decisions.

Nothing in this package does I/O, reads a clock, draws a random number or imports asyncio. The same inputs give the
same answer on any replica, in a replay of last week's log and in a unit test. It imports neither `gateway` nor
`student_train`; both import it.
"""
