"""Shadow mode as it is told over HTTP and by the commands, by a real gateway of two workers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config.shadow import JudgeConfig, PairsConfig, ShadowConfig
from router_policies.opinions import Outcome
from router_policies.shadow import Reason
from tests.support.configs import two_upstreams
from tests.support.operating import APP, KEYS, SRE, wait_until
from tests.support.processes import GatewayProcess
from tests.support.upstream import Received, ScriptedUpstream, Step, completion, response, well_behaved

SHADOW = {"sample": {"default": 1.0}, "aa_sample": 1.0}
OPINIONS = {"judge": {"upstream": "third", "sample": 1.0}, "embedding": {"upstream": "third"}}
ASKED = 12
NO_JSON = "Say {}!"


def _student(request: Received) -> Iterator[Step]:
    yield response(completion("```json\n{}\n```" if said(request) == NO_JSON else "write to a@example.com"))


def _teacher(request: Received) -> Iterator[Step]:
    yield response(completion("{}" if said(request) == NO_JSON else "write to b@example.com"))


def _third(request: Received) -> Iterator[Step]:
    """An embedding in which the answers are opposites, and a judge that prefers what has no fence around it."""
    if request.target == "/v1/embeddings":
        data = [{"index": 0, "embedding": [1, 0]}, {"index": 1, "embedding": [-1, 0]}]
        yield response({"data": data, "usage": {"prompt_tokens": 9}})
        return
    text = request.json["messages"][1]["content"]
    first = text.partition("answer A begins\n")[2].partition("answer B begins")[0]
    better = "B" if "```" in first else "A" if "```" in text else "tie"
    yield response(completion(json.dumps({"better": better, "why": "ask d@example.com"})))


def said(request: Received) -> str:
    return str(request.json["messages"][0]["content"])


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """It has answered `ASKED` requests: every second one asked for JSON, one cannot be asked a second time."""
    with (
        ScriptedUpstream(_student) as student,
        ScriptedUpstream(_teacher) as teacher,
        ScriptedUpstream(_third) as third,
    ):
        unchecked = {"verify": {"json": False, "schema": False, "tools": False}}
        config = two_upstreams(student, teacher, student_percent=100, shadow={**SHADOW, **OPINIONS}, fallback=unchecked)
        config["upstreams"]["third"] = {
            "base_url": third.base_url,
            "model": "third",
            "price": {"input": 1, "output": 1},
        }
        config["routes"]["quiet"] = {"teacher": "big", "student": "small"}
        gateway = GatewayProcess({**config, **KEYS}, tmp_path_factory.mktemp("shadow"), workers=2)
        for number in range(ASKED):
            fields: dict[str, Any] = {"messages": [{"role": "user", "content": "I am c@example.com"}]}
            if number % 2:
                fields = {
                    "messages": [{"role": "user", "content": NO_JSON}],
                    "response_format": {"type": "json_object"},
                }
            if number == ASKED - 1:
                fields["tools"] = [{"type": "web_search"}]
            body = {"model": "support-chat", **fields}
            httpx2.post(f"{gateway.url}/v1/chat/completions", json=body, headers=APP, timeout=20).raise_for_status()
        wait_until(lambda: told(gateway)["newest"]["ab"]["records"] == ASKED, 20)
        wait_until(lambda: told(gateway)["newest"]["aa"]["records"] == ASKED, 20)
        wait_until(lambda: told(gateway)["newest"]["ab"]["opinions"].get("judge", {}).get("drawn") == ASKED - 1, 20)
        yield gateway
        gateway.kill()


def get(gateway: GatewayProcess, path: str, **query: Any) -> Any:
    found = httpx2.get(f"{gateway.url}/admin{path}", params=query, headers=SRE, timeout=20)
    assert found.status_code == 200, found.text
    return found.json()


def told(gateway: GatewayProcess) -> Any:
    return get(gateway, "/shadow/support-chat")


def test_what_was_sampled_is_pairs_and_reasons(gateway: GatewayProcess) -> None:
    found = told(gateway)
    for arm in ("ab", "aa"):
        lost = {"unsupported": 1}
        assert found["here"][arm] == {"sampled": ASKED, "pairs": ASKED - 1, "lost": lost, "under_way": 0}
        assert (found["newest"][arm]["pairs"], found["newest"][arm]["lost"]) == (ASKED - 1, lost)
    assert found["settings"]["sample"] == {"default": 1.0, "high_risk": 1.0}
    assert found["stopped"] == []
    wait_until(lambda: told(gateway)["usd_today"] > 0)  # of the other worker it is heard about once a second
    assert found["newest"]["since"] <= found["newest"]["until"]


def test_shares_are_of_the_pairs_by_family_and_arm(gateway: GatewayProcess) -> None:
    newest = told(gateway)["newest"]
    fenced = ASKED // 2 - 1  # every second one, but for the last
    assert newest["ab"]["families"]["format"]["student_worse"] == fenced
    assert newest["ab"]["families"]["format"]["student_worse_share"] == pytest.approx(fenced / (ASKED - 1))
    assert newest["aa"]["families"]["format"]["disagree"] == 0
    few = get(gateway, "/shadow/support-chat", newest=4)["newest"]
    assert few["ab"]["records"] + few["aa"]["records"] == 4


def test_a_route_that_mirrors_nothing_says_so(gateway: GatewayProcess) -> None:
    both = get(gateway, "/shadow")["routes"]
    assert [one["route"] for one in both] == ["quiet", "support-chat"]
    assert (both[0]["settings"], both[0]["stopped"], both[0]["here"]["ab"]["sampled"]) == (None, [], 0)


def test_pairs_come_newest_first_redacted_and_in_pages(gateway: GatewayProcess) -> None:
    first = get(gateway, "/pairs/support-chat", limit=15)
    rest = get(gateway, "/pairs/support-chat", before=first["next"], limit=200)
    numbers = [one["number"] for one in (*first["pairs"], *rest["pairs"])]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 2 * (ASKED - 1)
    assert rest["next"] is None
    plain = next(one for one in first["pairs"] if "I am" in one["texts"]["request"][0]["text"])
    assert plain["texts"]["request"] == [{"role": "user", "text": "I am [email]"}]
    assert plain["texts"]["teacher"]["text"] == "write to [email]"
    assert plain["probability"] == 1.0


def test_pairs_are_picked_by_arm_by_disagreement_and_by_loss(gateway: GatewayProcess) -> None:
    noise = get(gateway, "/pairs/support-chat", arm="aa")["pairs"]
    assert {one["arm"] for one in noise} == {"aa"}
    assert {one["student"]["upstream"] for one in noise} == {"big"}
    differing = get(gateway, "/pairs/support-chat", arm="ab", disagree=1)["pairs"]
    assert len(differing) >= ASKED // 2 - 1
    assert all(any(not verdict["agree"] for verdict in one["verdicts"]) for one in differing)
    lost = get(gateway, "/pairs/support-chat", lost=1)["pairs"]
    assert [(one["reason"], one["texts"]) for one in lost] == [("unsupported", None)] * 2


def test_opinions_are_counted_and_stand_on_the_pairs(gateway: GatewayProcess) -> None:
    found = told(gateway)
    fenced, alike = ASKED // 2 - 1, ASKED // 2  # what is alike once it is redacted, and the last that was no pair
    opinions = found["newest"]["ab"]["opinions"]
    assert opinions["judge"] == {"drawn": ASKED - 1, "outcomes": {"identical": alike, "consistent_teacher": fenced}}
    assert opinions["embedding"] == {
        "drawn": ASKED - 1,
        "outcomes": {"identical": alike, "measured": fenced},
        "median_similarity": 1.0,
    }
    assert found["newest"]["aa"]["opinions"]["embedding"]["outcomes"] == {"identical": ASKED - 1}
    assert "judge" not in found["newest"]["aa"]["opinions"]
    assert found["opinions_usd_today"] == pytest.approx({"judge": fenced * 28e-6, "embedding": fenced * 9e-6})
    pairs = get(gateway, "/pairs/support-chat", arm="ab", limit=200)["pairs"]
    fences = [one for one in pairs if "```" in one["texts"]["student"]["text"]]
    assert len(fences) == fenced
    for one in fences:
        assert {opinion["kind"]: opinion["outcome"] for opinion in one["opinions"]} == {
            "judge": "consistent_teacher",
            "embedding": "measured",
        }
        assert one["texts"]["why"] == {"student_first": "ask [email]", "teacher_first": "ask [email]"}


def test_those_most_worth_a_look_come_first(gateway: GatewayProcess) -> None:
    first = get(gateway, "/pairs/support-chat", review=1, limit=8)
    worth = [one["review"] for one in first["pairs"]]
    assert worth == sorted(worth, reverse=True)
    assert worth[: ASKED // 2] == [1.0] * (ASKED // 2 - 1) + [worth[ASKED // 2 - 1]]
    assert worth[ASKED // 2 - 1] < 1
    assert (len(worth), first["next"]) == (8, None)
    assert get(gateway, "/pairs/support-chat", review=1, limit=200)["pairs"][:8] == first["pairs"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/shadow/nope", 404, "route_not_found"),
        ("/pairs/nope", 404, "route_not_found"),
        ("/pairs/support-chat?limit=0", 422, "invalid_parameter"),
        ("/pairs/support-chat?arm=x", 422, "invalid_parameter"),
        ("/shadow?newest=x", 422, "invalid_parameter"),
    ],
)
def test_what_is_wrong_is_said(gateway: GatewayProcess, path: str, status: int, code: str) -> None:
    refused = httpx2.get(f"{gateway.url}/admin{path}", headers=SRE, timeout=10)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert httpx2.get(f"{gateway.url}/admin{path}", headers=APP, timeout=10).status_code == 403


@pytest.mark.parametrize(
    ("path", "asked"),
    [("/shadow", "/shadow"), ("/shadow/{route}", "/shadow/support-chat"), ("/pairs/{route}", "/pairs/support-chat")],
)
def test_examples_and_answers_are_what_openapi_says(gateway: GatewayProcess, path: str, asked: str) -> None:
    document = httpx2.get(f"{gateway.url}/openapi.json", timeout=10).json()
    media = document["paths"][f"/admin{path}"]["get"]["responses"]["200"]["content"]["application/json"]
    validator = Draft202012Validator(media["schema"])
    answer = get(gateway, asked)
    for one in (media["example"], answer):
        assert [error.message for error in validator.iter_errors(one)] == []
    null = {".pairs[].reason"}  # FastAPI leaves nulls out of examples
    assert _shape(answer) - null <= _shape(media["example"])


def _shape(value: Any, path: str = "") -> set[str]:
    """Paths of all members, so that an example has each of an answer; what is counted by name is not looked into."""
    if isinstance(value, list):
        return {path} | {inner for item in value for inner in _shape(item, f"{path}[]")}
    if isinstance(value, dict) and not path.endswith(("lost", "families", "cost", "outcomes")):
        return {path} | {inner for key, item in value.items() for inner in _shape(item, f"{path}.{key}")}
    return {path}


def test_commands_show_it(gateway: GatewayProcess) -> None:
    env = {"COLUMNS": "160", "UNDERSTUDY_URL": gateway.url, "UNDERSTUDY_KEY": "sre-key-secret"}

    def run(*arguments: str) -> str:
        done = CliRunner(env=env).invoke(app, list(arguments))
        assert done.exit_code == 0, done.output
        return done.stdout

    shown = run("shadow")
    assert "support-chat: mirrors 1 of requests, 1 of those at high risk; the teacher twice for 1" in shown
    assert f"ab on this host: {ASKED} sampled, {ASKED - 1} pairs, lost: 1 unsupported" in shown
    assert "quiet: mirrors nothing" in shown
    assert "format" in run("shadow", "support-chat", "--newest", "10")
    assert json.loads(run("shadow", "support-chat", "--json"))["route"] == "support-chat"
    shown = run("pairs", "support-chat", "--disagree", "--arm", "ab")
    assert "student fail, teacher pass" in shown
    assert "user: Say {}!" in shown
    spent = "judge by third for 1 of pairs; today: 0.0001 of 5 dollars"
    wait_until(lambda: spent in run("shadow", "support-chat"))  # of the other worker it is heard about once a second
    assert "6 identical, 5 consistent_teacher" in run("shadow", "support-chat")
    shown = run("pairs", "support-chat", "--review", "--limit", "1")
    assert "judge by third/third@: consistent_teacher." in shown
    assert "embedding by third/third@: measured -1.000." in shown
    assert "the judge, student first: ask [email]" in shown
    assert "no pair, unsupported" in run("pairs", "support-chat", "--lost")
    lines = run("pairs", "support-chat", "--json", "--limit", "3").splitlines()
    assert [json.loads(line)["route"] for line in lines] == ["support-chat"] * 3


def test_a_judge_comes_and_goes_through_the_door(gateway: GatewayProcess) -> None:
    def patched(shadow: Any) -> httpx2.Response:
        url, match = f"{gateway.url}/admin/routes/quiet", {**SRE, "if-match": "*"}
        return httpx2.patch(url, json={"shadow": shadow, "reason": "a test"}, headers=match, timeout=20)

    for upstream, told in (("small", "expected a third model, got 'small'"), ("nobody", "expected one of third")):
        refused = patched({"judge": {"upstream": upstream}})
        assert refused.status_code == 422
        assert f"shadow.judge.upstream: {told}" in refused.text
    assert patched({"judge": {"upstream": "third", "sample": 0.5}}).status_code == 200
    judge = {"upstream": "third", "sample": 0.5, "max_usd_per_day": 5.0, "timeout_s": 60.0, "rubric": None}
    wait_until(lambda: (get(gateway, "/shadow/quiet")["settings"] or {}).get("judge") == judge, 10)
    assert patched(None).status_code == 200
    wait_until(lambda: get(gateway, "/shadow/quiet")["settings"] is None, 10)


def test_why_nothing_is_mirrored(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ScriptedUpstream(well_behaved()) as upstream:
        config = two_upstreams(upstream, upstream, student_percent=100, shadow={**SHADOW, "max_usd_per_day": 0})
        gateway = GatewayProcess({**config, **KEYS}, tmp_path_factory.mktemp("spent"))
        (stop,) = told(gateway)["stopped"]
        assert stop == {"because": "budget", "detail": "0 of 0 dollars are spent today (UTC)"}
        gateway.kill()


def test_the_page_is_true(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What docs/shadow.md prints to be typed, typed; and every reason and key in its tables."""
    page = (Path(__file__).parents[2] / "docs" / "shadow.md").read_text()
    keys = {*ShadowConfig.model_fields, *PairsConfig.model_fields, *JudgeConfig.model_fields}
    for name in (*Reason, *Outcome, *keys, "sample.default", "sample.high_risk"):
        assert f"`{name}`" in page or f"  {name}: " in page or name == "sample"
    block = page.split("```sh\n")[1].split("```")[0]
    first, commands = block.split("\n", 1)
    assert first.startswith("export UNDERSTUDY_URL=")
    with ScriptedUpstream(well_behaved()) as upstream:
        gateway = GatewayProcess(
            {**two_upstreams(upstream, upstream), **KEYS}, tmp_path_factory.mktemp("page"), env={"COLUMNS": "160"}
        )
        aids = f"""set -euo pipefail
        understudy() {{ '{sys.executable}' -m gateway.cli "$@"; }}
        curl() {{ command curl --fail-with-body -sS "$@"; }}
        """
        env = {**os.environ, "UNDERSTUDY_URL": gateway.url, "UNDERSTUDY_KEY": "sre-key-secret"}
        script = ["bash", "-c", aids + commands]
        done = subprocess.run(script, capture_output=True, text=True, timeout=60, env=env)
        gateway.kill()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "support-chat: mirrors 0.1 of requests" in done.stdout
    assert "of 20 dollars" in done.stdout
    assert "There is none." in done.stdout
