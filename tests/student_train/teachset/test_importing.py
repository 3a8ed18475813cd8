"""From files to a set: read, scrubbed, added once; killed and run again it is the same; nothing else is on disk."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from student_train.teachset.example import Example
from student_train.teachset.handling import Rules
from student_train.teachset.importing import TABLE, Imported, add
from student_train.teachset.store import TeachingSet
from student_train.teachset.trace import HEADER, TraceError, read_key
from student_train.teachset.verify import verify
from tests.support.upstream import completion

KEY = bytes(range(32))


def trace(number: int, text: str, session: str = "", **more: Any) -> dict[str, Any]:
    answer = completion("Thank you, <NAME_9>, we call 07700 900123.")
    return {
        "format": "understudy-trace/1", "id": f"request-{number:04}", "at": 1000.0 + number, "route": "support",
        "route_version": 1, "endpoint": "/v1/chat/completions", "stream": False, "tenant": "acme", "user": "cust-55512",
        "session": session, "consent": ["train"], "why": "disagreement", "probability": 0.5,
        "served": {"role": "student", "upstream": "a", "model": "small", "revision": "r1"},
        "request": {"model": "m", "messages": [{"role": "user", "content": text}]},
        "answer": json.dumps(answer), "outcome": "ok",
    } | more  # fmt: skip


def made(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {"id": f"m{number}", "origin": "test", "messages": [{"role": "user", "content": text}]} | more


def write(path: Path, *lines: dict[str, Any], end: str = "") -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
    return path


def sealed(path: Path, *frames: bytes, cut: int = 0) -> Path:
    out = HEADER
    for number, frame in enumerate(frames):
        nonce = os.urandom(12)
        text = nonce + AESGCM(KEY).encrypt(nonce, frame, number.to_bytes(8, "big"))
        out += len(text).to_bytes(4, "big") + text
    path.write_bytes(out[: len(out) - cut])
    return path


def fresh(path: Path) -> Path:
    TeachingSet.create(path).close()
    return path


def added(path: Path, *files: Path, rules: Rules | None = None, **more: Any) -> Imported:
    with TeachingSet.open(path) as teaching:
        return add(teaching, files, rules or Rules(), **more)


def examples(path: Path) -> dict[str, Example]:
    with TeachingSet.open(path) as teaching:
        return {one.source.id: one for one in teaching.examples()}


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())


def said(example: Example) -> str:
    return str(example.messages[0]["content"])


def test_a_trace_becomes_an_example(tmp_path: Path) -> None:
    path = fresh(tmp_path / "set")
    found = added(path, write(tmp_path / "a.jsonl", trace(1, "My name is Rosa Keller, rosa@example.com", session="s1")))
    assert (found.read, found.added, found.refused) == (1, 1, {})
    assert found.masked == {"email": 1, "name": 1, "phone": 1}
    (one,) = examples(path).values()
    assert said(one) == "My name is <NAME_10>, <EMAIL_1>"
    assert one.served == "Thank you, <NAME_9>, we call <PHONE_1>."
    assert one.served_by == "student/small"
    source = one.source
    assert (source.why, source.probability, source.legal_basis) == ("disagreement", 0.5, "consent")
    assert source.retention_until == 1001.0 + 365 * 86_400
    with TeachingSet.open(path) as teaching:
        assert one.person == teaching.person("acme", "cust-55512")
        assert teaching.has(TABLE, one.session)
    for value in (b"Rosa", b"Keller", b"rosa@example.com", b"900123", b"cust-55512", b'"s1"'):
        assert value not in on_disk(path)
    assert verify(path).records == 2


def test_a_session_keeps_its_placeholders_over_files_and_runs(tmp_path: Path) -> None:
    path = fresh(tmp_path / "set")
    late = write(tmp_path / "a.jsonl", trace(2, "It is idris@example.com, or rosa@example.com", session="s1"))
    early = write(tmp_path / "b.jsonl", trace(1, "Rosa here? mail rosa@example.com", session="s1"))
    added(path, late, early)
    tomorrow = write(
        tmp_path / "c.jsonl",
        trace(3, "Best regards,\nRosa Keller\nidris@example.com", session="s1"),
        trace(4, "leila@example.com", session="s2"),
        trace(5, "leila@example.com", session="s1", tenant="globex"),
    )
    added(path, tomorrow)
    found = examples(path)
    assert said(found["request-0001"]).endswith("mail <EMAIL_1>")
    assert said(found["request-0002"]) == "It is <EMAIL_2>, or <EMAIL_1>"
    assert said(found["request-0003"]).endswith("<EMAIL_2>")
    assert said(found["request-0004"]) == said(found["request-0005"]) == "<EMAIL_1>"
    assert found["request-0004"].session != found["request-0005"].session != found["request-0001"].session


def test_a_name_of_yesterday_is_masked_today(tmp_path: Path) -> None:
    path = fresh(tmp_path / "set")
    added(path, write(tmp_path / "a.jsonl", trace(1, "My name is Rosa Keller.", session="s1")))
    added(path, write(tmp_path / "b.jsonl", trace(2, "Ask Keller, she knows. The Kettle?", session="s1")))
    assert said(examples(path)["request-0002"]) == "Ask <NAME_10>, she knows. The Kettle?"


def test_adding_again_adds_nothing_and_erased_stays_erased(tmp_path: Path) -> None:
    path = fresh(tmp_path / "set")
    file = write(tmp_path / "a.jsonl", trace(1, "one"), trace(2, "two"))
    added(path, file)
    before = examples(path)
    assert (added(path, file).added, examples(path)) == (0, before)
    with TeachingSet.open(path, holdout=True) as teaching:
        teaching.erase([before["request-0001"].id], {})
    again = added(path, file)
    assert (again.added, again.already, len(examples(path))) == (0, 2, 1)


def test_streamed_answers_are_put_together_and_calls_are_kept(tmp_path: Path) -> None:
    call = {"index": 0, "function": {"name": "look", "arguments": '{"email": "rosa@'}}
    more = {"index": 0, "function": {"arguments": 'example.com"}'}}
    deltas = [{"content": "One "}, {"content": "moment"}, {"tool_calls": [call]}, {"tool_calls": [more]}]
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    sent = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    path = fresh(tmp_path / "set")
    cut = trace(2, "b", stream=True, answer=sent[: len(sent) // 2])
    added(path, write(tmp_path / "a.jsonl", trace(1, "a", stream=True, answer=sent + "data: [DONE]\n\n"), cut))
    found = examples(path)
    served = json.loads(found["request-0001"].served or "")
    assert served["content"] == "One moment"
    assert json.loads(served["tool_calls"][0]["function"]["arguments"]) == {"email": "<EMAIL_1>"}
    assert found["request-0002"].served is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (trace(1, "x", consent=["analytics"]), "no consent"),
        (trace(1, "x", endpoint="/v1/responses"), "endpoint other than /v1/chat/completions"),
        (trace(1, "x", outcome="upstream_error"), "the request did not end well"),
        (trace(1, " "), "nothing asked"),
        (trace(1, "x" * 2000), "too long"),
        (trace(1, "x", tenant="dropped"), "a tenant that the rules leave out"),
        (trace(1, "x", request={"messages": "none"}), "no messages"),
        (trace(1, "x", format="understudy-trace/2"), "a format other than understudy-trace/1"),
        (made(1, "my password: Sommer-24!"), "the rules drop what has secret in user"),
        (made(1, "x", surprise=1), "a line of another shape: docs/scrubbing.md has both"),
        ({"no": "id"}, "not a line of JSON with an id"),
    ],
)
def test_what_is_not_used_is_counted_with_the_reason(tmp_path: Path, line: dict[str, Any], why: str) -> None:
    path = fresh(tmp_path / "set")
    rules = Rules.model_validate(
        {"drop_tenants": ["dropped"], "most_chars": 1000, "tenants": {"*": {"user": {"secret": "drop"}}}}
    )
    found = added(path, write(tmp_path / "a.jsonl", line), rules=rules)
    assert (found.added, found.refused) == (0, {why: 1})


def test_rules_by_field_and_tenant(tmp_path: Path) -> None:
    path = fresh(tmp_path / "set")
    rules = Rules.model_validate({"tenants": {"globex": {"user": {"email": "keep"}}}})
    file = write(tmp_path / "a.jsonl", trace(1, "a@example.com", tenant="globex"), trace(2, "a@example.com"))
    added(path, file, rules=rules)
    assert sorted(map(said, examples(path).values())) == ["<EMAIL_1>", "a@example.com"]


def test_made_examples_and_where_they_are_put(tmp_path: Path) -> None:
    path = fresh(tmp_path / "set")
    line = made(1, "hello", source="handcrafted", gold='{"a": 1}', family="f", skill="s", licence="MIT", person="p")
    added(path, write(tmp_path / "gold.jsonl", line), split="gold")
    with TeachingSet.open(path) as teaching:
        (one,) = teaching.examples("gold")
        assert one.person == teaching.person("", "p")
    assert (one.gold, one.family, one.skill, one.source.kind) == ('{"a": 1}', "f", "s", "handcrafted")
    assert (one.source.licence, one.source.retention_until, one.source.legal_basis) == ("MIT", None, "")


def test_encrypted_files(tmp_path: Path) -> None:
    lines = [json.dumps(trace(number, "rosa@example.com", session="s")).encode() for number in range(4)]
    folder = tmp_path / "traces"
    folder.mkdir()
    sealed(folder / "b.jsonl.enc", lines[2] + b"\n" + lines[0] + b"\n", lines[1] + b"\n", lines[3] + b"\n", cut=5)
    (tmp_path / "key").write_text(KEY.hex() + "\n")
    path = fresh(tmp_path / "set")
    found = added(path, folder, key=read_key(tmp_path / "key"))
    assert (found.read, found.added, found.refused) == (3, 3, {"breaks off": 1})
    assert {said(one) for one in examples(path).values()} == {"<EMAIL_1>"}
    with pytest.raises(TraceError, match="frame 0 does not open"):
        added(path, folder, key=bytes(32))
    with pytest.raises(TraceError, match="--key-file"):
        added(path, folder)
    (tmp_path / "key").write_text("short")
    with pytest.raises(TraceError, match="64 hexadecimal digits"):
        read_key(tmp_path / "key")


def test_a_half_written_line_is_counted(tmp_path: Path) -> None:
    path = fresh(tmp_path / "set")
    whole = json.dumps(trace(2, "b"))
    assert added(path, write(tmp_path / "a.jsonl", trace(1, "a"), end=whole[:50])).refused == {"breaks off": 1}
    assert added(path, write(tmp_path / "b.jsonl", end=whole)).added == 1


_RUN = """
import sys
from pathlib import Path
from student_train.teachset.handling import Rules
from student_train.teachset.importing import add
from student_train.teachset.store import TeachingSet
with TeachingSet.open(Path(sys.argv[1])) as teaching:
    add(teaching, [Path(sys.argv[2])], Rules(), show=lambda done, of: print(done, flush=True))
"""


def test_killed_at_any_point_and_run_again_it_is_the_same(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.jsonl",
        *(
            trace(n, f"user{n % 7}@example.com and user{n % 11}@example.com", session=f"s{n % 90}", tenant=f"t{n % 2}")
            for n in range(1100)
        ),
    )
    whole = fresh(tmp_path / "whole")
    killed = tmp_path / "killed"
    killed.mkdir(mode=0o700)
    (whole / "secret").chmod(0o600)
    TeachingSet.create(killed).close()
    (killed / "secret").write_bytes((whole / "secret").read_bytes())
    added(whole, file)
    for at in (1, 600, 900):
        run = subprocess.Popen([sys.executable, "-c", _RUN, killed, file], stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        for line in run.stdout:
            if int(line) >= at:
                break
        time.sleep(0.02 * at / 700)
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stdout.close()
    added(killed, file)
    assert examples(killed) == examples(whole)
    with TeachingSet.open(killed) as one, TeachingSet.open(whole) as other:
        assert dict(one.payloads(TABLE)) == dict(other.payloads(TABLE))
        assert msgspec.json.decode(next(iter(one.payloads(TABLE)))[1])
    assert verify(killed).records == verify(whole).records


def test_nothing_to_read(tmp_path: Path) -> None:
    path = fresh(tmp_path / "set")
    with pytest.raises(TraceError, match="found none"):
        added(path, tmp_path / "set" / "holdout")
    with pytest.raises(TraceError, match="No such file"):
        added(path, tmp_path / "missing.jsonl")
