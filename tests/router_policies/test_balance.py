"""The balancer, on scripted and on simulated loads."""

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from router_policies.balance import best, choose, choose_near, salt_of, shun_s, weight

NEVER = float("-inf")


@dataclass
class Server:
    name: str = "a"
    in_flight: int = 0
    usable: bool = True
    well: bool = True
    shunned_until: float = 0.0
    returned_at: float = NEVER

    @property
    def salt(self) -> int:
        return salt_of(self.name)


def servers(count: int) -> list[Server]:
    return [Server(f"http://10.0.0.{number}:8000/v1") for number in range(count)]


def test_only_those_are_chosen_among_that_no_other_is_better_than() -> None:
    fine, failed, unwell, both, out = (
        Server("fine"),
        Server("failed", shunned_until=9),
        Server("unwell", well=False),
        Server("both", well=False, shunned_until=8),
        Server("out", usable=False),
    )
    assert best([out, both, unwell, failed, fine], 5) == ([fine], 8)
    assert best([out, both, unwell, failed], 5) == ([failed], 8)
    assert best([out, both, unwell], 5) == ([unwell], 8)
    assert best([out, both], 5) == ([both], 8), "all unwell are used all the same"
    assert best([out], 5) == ([], float("inf"))
    assert best([fine, failed], 9) == ([fine, failed], float("inf")), "it was avoided long enough"


def test_the_less_loaded_of_two_is_chosen() -> None:
    draw = random.Random(1).random
    idle, busy = Server("idle", in_flight=3), Server("busy", in_flight=4)
    assert {choose([busy, idle], 0, draw).name for _ in range(50)} == {"idle"}
    equal = Counter(choose([Server("a"), Server("b")], 0, draw).name for _ in range(1000))
    assert 400 < equal["a"] < 600


def test_two_different_ones_are_drawn_and_every_pair_equally() -> None:
    """The busiest never gets anything: whoever it is drawn with has less to do."""
    draw = random.Random(2).random
    among = [Server(str(load), in_flight=load) for load in range(4)]
    chosen = Counter(choose(among, 0, draw).in_flight for _ in range(6000))
    assert chosen[3] == 0
    assert [round(chosen[load] / 1000) for load in range(3)] == [3, 2, 1]


def simulate(among: list[Server], seconds: float, each_takes_s: float = 0.2, rate: int = 100) -> Counter[str]:
    """Requests at an even rate, each under way for a while; who served how many."""
    draw = random.Random(3).random
    ends: list[tuple[float, Server]] = []
    served: Counter[str] = Counter()
    for turn in range(int(seconds * rate)):
        now = turn / rate
        while ends and ends[0][0] <= now:
            ends.pop(0)[1].in_flight -= 1
        one = choose(among, now, draw)
        one.in_flight += 1
        served[one.name] += 1
        ends.append((now + each_takes_s, one))
    return served


def test_load_is_even() -> None:
    served = simulate(servers(5), 20)
    assert max(served.values()) < 1.1 * min(served.values())


def test_who_comes_back_gets_its_share_little_by_little() -> None:
    share = []
    for ago in (0, 5, 9, 10):
        back, *others = servers(3)
        back.returned_at = -ago
        share.append(simulate([back, *others], 0.9, rate=1000)[back.name] / 900)
    assert share == sorted(share)
    assert share[0] < 0.1
    assert share[-1] == pytest.approx(1 / 3, abs=0.05)


def test_the_weight_of_a_return() -> None:
    assert [weight(100, now) for now in (99, 100, 105, 110, 1e9)] == pytest.approx([0.1, 0.1, 0.55, 1, 1])
    assert weight(NEVER, 0) == 1


def test_it_is_avoided_longer_with_every_failure_in_a_row() -> None:
    assert [shun_s(failures) for failures in (1, 2, 3, 4, 5, 50, 5000)] == [1, 2, 4, 8, 8, 8, 8]


def owners(among: list[Server], conversations: range) -> dict[int, str]:
    return {affinity: choose_near(among, 0, affinity).name for affinity in conversations}


@pytest.mark.parametrize("conversations", [range(10_000), range(0, 10_000 << 40, 1 << 40), range(-5_000, 5_000)])
def test_conversations_are_spread_evenly(conversations: range) -> None:
    counts = Counter(owners(servers(4), conversations).values())
    assert len(counts) == 4
    assert all(2300 < count < 2700 for count in counts.values()), counts


def test_a_conversation_stays_and_when_a_server_leaves_only_its_own_move() -> None:
    among = servers(4)
    before = owners(among, range(2000))
    assert owners(list(reversed(among)), range(2000)) == before, "the order of the list does not matter"
    gone = among.pop(1)
    after = owners(among, range(2000))
    moved = {affinity for affinity in before if before[affinity] != after[affinity]}
    assert moved == {affinity for affinity in before if before[affinity] == gone.name}
    to = Counter(after[affinity] for affinity in moved)
    assert min(to.values()) > 0.7 * max(to.values()), "and not all to the same one"


def test_a_conversation_leaves_a_server_that_has_far_more_to_do_than_another() -> None:
    among = servers(3)
    own = choose_near(among, 0, 7)
    other, third = (one for one in among if one is not own)
    other.in_flight, third.in_flight = 10, 100
    own.in_flight = 2 * 11 + 4 - 1
    assert choose_near(among, 0, 7) is own
    own.in_flight += 1
    assert choose_near(among, 0, 7) is other, "and goes to none that has even more to do"


def test_affinity_bounds_the_load_of_the_busiest() -> None:
    """Everyone begins in the same way: one server alone would get everything."""
    among = servers(4)
    for _ in range(400):
        choose_near(among, 0, 42).in_flight += 1
    loads = sorted(one.in_flight for one in among)
    assert sum(loads) == 400
    assert loads[-1] <= 2 * (loads[0] + 1) + 4


def test_one_alone_is_chosen() -> None:
    [one] = servers(1)
    one.in_flight = 1000
    assert choose([one], 0, random.Random(1).random) is one
    assert choose_near([one], 0, 1) is one
