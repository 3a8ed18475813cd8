"""The trials of `gate.py`: what the gate's statistics do with students whose true rates are known, over and over.

Where only the two counts matter, as they do for a rate, a rule is a line: with n pairs, at most so many may differ.
Then the chance of ever passing within N pairs is summed exactly over all the ways there (`chances`), and simulated
streams need only the places of their disagreements. Everywhere else the gateway's own classes are fed pair by pair.
"""

from __future__ import annotations

import math
import random
import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router_policies.evidence import rates
from router_policies.evidence.bets import Bets, even_bets
from router_policies.evidence.cells import Counted, Weighted
from router_policies.evidence.detector import Detector

ALPHA = 0.05
WILSON_FROM = 100  # pairs: nobody believes a naive interval before that
Z95 = 1.6448536269514722  # one-sided, like the gate: at a single look it errs in 5 % too


# ---- rules as lines ----


def line(passes: Callable[[int, int], bool], pairs: int) -> list[int]:
    """[n]: the most disagreements among n pairs with which the rule passes; -1 where it does not even with none."""
    most, found = -1, [-1]
    for n in range(1, pairs + 1):
        while most < n and passes(most + 1, n):
            most += 1
        found.append(most)
    return found


def gate_line(tolerance: float, alpha: float, pairs: int) -> list[int]:
    enough = math.log(1 / alpha)
    return line(lambda differ, n: rates.log_better(differ, n, tolerance) >= enough, pairs)


def wilson_line(tolerance: float, pairs: int, every: int = 1) -> list[int]:
    """Wilson's upper 95 % bound below the tolerance, looked at every so many pairs."""

    def passes(differ: int, n: int) -> bool:
        middle = (differ + Z95**2 / 2) / (n + Z95**2)
        width = Z95 / (n + Z95**2) * math.sqrt(differ * (n - differ) / n + Z95**2 / 4)
        return n >= WILSON_FROM and middle + width < tolerance

    whole = line(passes, pairs)
    return [most if n % every == 0 else -1 for n, most in enumerate(whole)]


def chances(rate: float, rule: Sequence[int]) -> list[float]:
    """[n]: the probability that a student with this rate has passed at any look up to pair n. Exact."""
    weights = [1.0]  # of having so many disagreements, not having passed
    passed, found = 0.0, [0.0]
    for n in range(1, len(rule)):
        before = [0.0, *weights]
        weights = [agree * (1 - rate) + differ * rate for agree, differ in zip([*weights, 0.0], before, strict=True)]
        if rule[n] >= 0:
            passed += sum(weights[: rule[n] + 1])
            weights[: rule[n] + 1] = [0.0] * min(rule[n] + 1, len(weights))
        while len(weights) > 1 and weights[-1] < 1e-18:
            weights.pop()
        found.append(passed)
    return found


def quantile(found: Sequence[float], share: float) -> int | None:
    """The pair by which that share has passed; None if fewer do."""
    at = bisect_left(found, share)
    return at if at < len(found) else None


def disagreements(rate: float, pairs: int, rng: random.Random) -> list[int]:
    """The numbers of the pairs that differ, from 1, of a stream of `pairs`."""
    found, n, log_agree = [], 0, math.log1p(-rate)
    while True:
        n += 1 + int(math.log(1.0 - rng.random()) / log_agree)
        if n > pairs:
            return found
        found.append(n)


def first_pass(at: Sequence[int], rule: Sequence[int], every: int = 1) -> int | None:
    """The first pair at which a stream that differs `at` these passes, if it is looked at every so many."""
    ends = [*at[1:], len(rule)] if at else []
    for differ, (begin, end) in enumerate(zip([0, *at], [at[0] if at else len(rule), *ends], strict=True)):
        if every > 1:
            looks = range(max(every, -(-begin // every) * every), end, every)
            hit = next((n for n in looks if rule[n] >= differ), None)
        else:
            n = max(begin, bisect_left(rule, differ))
            hit = n if n < end else None
        if hit is not None:
            return hit
    return None


# ---- the trials ----


def promotions(rate: float, rules: dict[str, tuple[list[int], int]], runs: int, rng: random.Random) -> dict[str, float]:
    """Share of the streams that each rule ever passes; the same streams for all."""
    passed = dict.fromkeys(rules, 0)
    for _ in range(runs):
        at = disagreements(rate, len(next(iter(rules.values()))[0]) - 1, rng)
        for name, (rule, every) in rules.items():
            passed[name] += first_pass(at, rule, every) is not None
    return {name: count / runs for name, count in passed.items()}


def retries(rate: float, lines: Sequence[Sequence[int]], runs: int, rng: random.Random) -> list[float]:
    """[k]: share of routes on which any of the first k + 1 students, each judged by its line, was promoted."""
    ever = [0] * len(lines)
    for _ in range(runs):
        for k, rule in enumerate(lines):
            if first_pass(disagreements(rate, len(rule) - 1, rng), rule) is not None:
                for later in range(k, len(lines)):
                    ever[later] += 1
                break
    return [count / runs for count in ever]


class Cusum(Detector):
    """The e-CUSUM with the same bets and threshold, to compare with."""

    def add(self, gain: float) -> bool:
        pairs = zip(self.capitals, self.bets, strict=True)
        self.capitals = [max(have, 1.0) * (1.0 + bet * gain) for have, bet in pairs]
        return sum(self.capitals) >= self._enough


@dataclass(frozen=True)
class Delays:
    """Pairs from the change to the alarm; None: not within the limit. Streams with an alarm before it are `early`."""

    found: list[int | None]
    early: int

    def share(self, of: float) -> int | None:
        """The delay that this share of the streams does not exceed; None: beyond the limit."""
        ordered = sorted(math.inf if one is None else one for one in self.found)
        at = ordered[min(int(of * len(ordered)), len(ordered) - 1)] if ordered else math.inf
        return None if at == math.inf else int(at)


Kinds = Mapping[str, Callable[[], Detector]]


def detection_delays(
    tolerance: float, rates_: tuple[float, float], history: int, limit: int, kinds: Kinds, runs: int, rng: random.Random
) -> dict[str, Delays]:
    """`history` pairs at the first rate, then the second; every kind of detector on the same streams."""
    found: dict[str, list[int | None]] = {kind: [] for kind in kinds}
    early = dict.fromkeys(kinds, 0)
    for _ in range(runs):
        waiting = {kind: make() for kind, make in kinds.items()}
        for n in range(history + limit):
            gain = (rng.random() < rates_[n >= history]) - tolerance
            for kind in [kind for kind, detector in waiting.items() if detector.add(gain)]:
                del waiting[kind]
                if n < history:
                    early[kind] += 1
                else:
                    found[kind].append(n - history + 1)
            if not waiting:
                break
        for kind in waiting:
            found[kind].append(None)
    return {kind: Delays(found[kind], early[kind]) for kind in kinds}


def cumulative_delays(
    tolerance: float, rates_: tuple[float, float], history: int, limit: int, runs: int, rng: random.Random
) -> Delays:
    """What the evidence over the whole history would do: alarm when "worse than the tolerance" has 1 / alpha."""
    enough = math.log(1 / ALPHA)

    def fails(differ: int, n: int) -> bool:
        return rates.log_worse(differ, n, tolerance) >= enough

    least = [1]  # [n]: disagreements from which on it alarms
    for n in range(1, history + limit + 1):
        at = least[-1]
        while at <= n and not fails(at, n):
            at += 1
        least.append(at)
    found: list[int | None] = []
    early = 0
    for _ in range(runs):
        before = disagreements(rates_[0], history, rng)
        if any(differ >= least[n] for differ, n in enumerate(before, 1)):
            early += 1
            continue
        after = disagreements(rates_[1], limit, rng)
        hits = (n for differ, n in enumerate(after, len(before) + 1) if differ >= least[history + n])
        found.append(next(hits, None))
    return Delays(found, early)


def run_lengths(
    tolerance: float, rate: float, make: Callable[[], Detector], cap: int, runs: int, rng: random.Random
) -> list[int]:
    """Pairs until the alarm, cut off at `cap`: their mean is at most the true one."""
    found = []
    for _ in range(runs):
        detector = make()
        found.append(next((n for n in range(1, cap) if detector.add((rng.random() < rate) - tolerance)), cap))
    return found


@dataclass(frozen=True)
class Stratum:
    name: str
    traffic: float
    rate: float
    probability: float


def requests(strata: Sequence[Stratum], count: int, rng: random.Random) -> Iterator[tuple[Stratum, bool, bool]]:
    """Stratum, whether it is selected, whether it differs (which nobody knows of those that are not)."""
    for stratum in rng.choices(strata, [one.traffic for one in strata], k=count):
        yield stratum, rng.random() < stratum.probability, rng.random() < stratum.rate


def sampled(strata: Sequence[Stratum], tolerance: float, count: int, runs: int, rng: random.Random) -> dict[str, Any]:
    """Streams of requests of which some kinds are selected more often: pooled as if they were not, and weighed, in the
    gateway's way and in that of the literature, which has a row for every request."""
    enough, least = math.log(1 / ALPHA), min(one.probability for one in strata)
    pooled, weighed, names = [], [], ("gateway", "every request", "pooled")
    passed: dict[str, list[int]] = {name: [] for name in names}
    for _ in range(runs):
        ours, naive = Weighted(tolerance, ALPHA), Counted(tolerance, ALPHA)
        literature = Bets(even_bets(1 / least - tolerance))
        open_ = set(names)
        for n, (stratum, selected, differs) in enumerate(requests(strata, count, rng), 1):
            literature.add(tolerance - (differs / stratum.probability if selected else 0.0))
            if selected:
                ours.add(differs, least / stratum.probability)
                naive.add(differs, 1.0)
            logs = {
                "gateway": ours.log_better if selected else None,
                "every request": literature.log_capital if max(literature.logs) >= enough else None,
                "pooled": naive.log_better if selected and "pooled" in open_ else None,
            }
            for name in [name for name in open_ if (log := logs[name]) is not None and log() >= enough]:
                open_.remove(name)
                passed[name].append(n)
        pooled.append(naive.differ / naive.pairs)
        weighed.append(ours.estimate() or 0.0)
    return {
        "truth": sum(one.traffic * one.rate for one in strata),
        "pooled": statistics.fmean(pooled),
        "weighed": statistics.fmean(weighed),
        "errors": [statistics.stdev(one) / math.sqrt(runs) for one in (pooled, weighed)],
        "certified": {name: len(passed[name]) / runs for name in names},
        "median_requests": {name: lower_median(passed[name], runs) for name in names},
    }


def lower_median(found: Sequence[int], runs: int) -> int | None:
    """Of all runs, those that found nothing being the longest; None if they are more than half."""
    return sorted(found)[(runs - 1) // 2] if len(found) > (runs - 1) // 2 else None


def excess(noise: float, more: float, tolerance: float, pairs: int, runs: int, rng: random.Random) -> dict[str, Any]:
    """Students that differ from the teacher by `more` than it differs from itself; it is asked twice each time."""
    enough = math.log(1 / ALPHA)
    passed, estimates, missed = [], [], 0
    for _ in range(runs):
        cell, at = Weighted(tolerance, ALPHA, low=-1.0), None
        for n in range(1, pairs + 1):
            cell.add((rng.random() < noise + more) - (rng.random() < noise), 1.0)
            if at is None and cell.log_better() >= enough:
                at = n
        if at is not None:
            passed.append(at)
        estimates.append(cell.estimate() or 0.0)
        low, high = cell.interval()
        missed += not low <= more <= high
    return {
        "excess": more,
        "certified": len(passed) / runs,
        "median_pairs": lower_median(passed, runs),
        "estimate": statistics.fmean(estimates),
        "standard_error": statistics.stdev(estimates) / math.sqrt(runs),
        "interval_missed": missed / runs,
    }


def refusals(noise: float, tolerance: float, pairs: int, runs: int, rng: random.Random) -> dict[str, Any]:
    """A tolerance for the plain rate that is below the teacher's noise: when it is refused."""
    enough = math.log(1 / ALPHA)
    found = []
    for _ in range(runs):
        cell = Counted(tolerance, ALPHA)
        for n in range(1, pairs + 1):
            differs = rng.random() < noise
            cell.add(differs, 1.0)
            if differs and cell.log_worse() >= enough:
                found.append(n)
                break
    return {"tolerance": tolerance, "refused": len(found) / runs, "median_pairs": lower_median(found, runs)}
