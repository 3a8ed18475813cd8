"""`understudy check`: what a config means, in a narrow terminal and in a wide one, and no secret in it."""

from hashlib import sha256
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from gateway.cli import app

DIGEST = sha256(b"batch-key").hexdigest()
SECRETS = ("app-key-S3CRET", "sre-key-S3CRET", "big-key-S3CRET", DIGEST)
EVERYTHING = f"""
keys:
  - {{name: shop-app, tenant: shop, key: "app-key-S3CRET"}}
  - name: "batch [bold]"
    key_sha256: "{DIGEST}"
    limits: {{requests_per_minute: 600, tokens_per_minute: 200000, concurrency: 50}}
  - {{name: sre, role: admin, key: "sre-key-S3CRET"}}
upstreams:
  big:
    base_url: https://teacher.internal/v1
    model: llama-70b
    api_key: big-key-S3CRET
    price: {{input: 2.50, output: 10.00}}
    context_tokens: 131072
    vision: false
    continues: vllm
    limits: {{concurrency: 64, queue: 16, queue_s: 1.5}}
    breaker: {{window_s: 20, min_requests: 10, failure_ratio: 0.25, open_s: 5, probe: 3}}
  huge:
    base_url: https://api.example.com/v1
    model: h
    tools: false
    continues: "no"
    limits: {{queue: 0}}
    health: {{path: /health, every_s: null, timeout_s: 1}}
  small: {{base_urls: ["http://gpu-1:8000/v1", "http://gpu-2:8000/v1"], affinity: prefix, model: student}}
routes:
  support-chat:
    teacher: big
    student: small
    student_percent: 5
    fallback:
      order: [teacher, huge]
      retries: 0
      on: [connect, busy]
      mid_stream: hold:20
      hedge_after_s: p95
      verify: {{schema: false, on_fail: error}}
    shadow:
      sample: {{default: 0.1}}
      judge: {{upstream: huge}}
      embedding: {{upstream: huge, max_usd_per_day: null}}
    rollout:
      steps: [{{weight: 1, min_bake: 30m}}, {{weight: 100, min_bake: 2d, gate: manual}}]
      checks:
        - {{name: format_disagreement, tolerance: 0.02, critical: true}}
        - {{name: ttft_p95, tolerance: 1.2}}
        - {{name: content_disagreement, tolerance: 0.2, dry_run: true}}
  search:
    teacher: big
    student: small
    fallback:
      order: []
      mid_stream: error
      hedge_after_s: 0.8
      verify: {{json: false, schema: false, tools: false}}
  usual: {{teacher: big, student: small}}
limits: {{body_bytes: 100000, in_flight: 99, body_s: 30}}
"""


def shown(path: Path, width: int) -> str:
    done = CliRunner(env={"COLUMNS": str(width)}).invoke(app, ["check", "-c", str(path)])
    assert done.exit_code == 0, done.output
    return done.output


def sections(output: str) -> dict[str, dict[str, str]]:
    """By heading, what is said by name; what was wrapped is put together again."""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    name = ""
    for line in output.splitlines():
        text = line.strip()
        if not text:
            continue
        if not line.startswith(" "):
            section = found.setdefault(text, {})
        elif line.startswith("   "):
            section[name] += " " + text
        else:
            name, _, said = text.partition("  ")
            section[name] = said.strip()
    return found


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(EVERYTHING)
    return path


@pytest.mark.parametrize("width", [80, 120])
def test_every_fact_is_there_at_any_width(everything: Path, width: int) -> None:
    said = sections(shown(everything, width))
    big, huge, small = said["Upstream big"], said["Upstream huge"], said["Upstream small"]
    assert said["Gateway"]["keys"].startswith("3, listed below")
    assert said["Keys, limits of all replicas together"]["shop-app"].split() == ["app", "shop", *("no", "limit") * 3]
    assert said["Keys, limits of all replicas together"]["batch [bold]"].split() == [
        "app",
        "default",
        "600",
        "200,000",
        "50",
    ]
    assert big["base_url"] == "https://teacher.internal/v1"
    assert (big["model"], big["api_key"], huge["api_key"]) == ("llama-70b", "set", "none")
    assert big["price"] == "USD per 1M tokens: 2.5 in, 2.5 in from the cache, 10.0 out"
    assert (big["context_tokens"], huge["context_tokens"]) == ("131,072", "not known")
    assert (big["tools"], big["vision"]) == ("yes", "no: passed over as a fallback for requests with images")
    assert (huge["tools"], huge["vision"]) == ("no: passed over as a fallback for requests with tools", "yes")
    assert big["continues"].startswith("vllm: ")
    assert huge["continues"] == "no: a broken answer is asked anew"
    assert small["continues"].startswith("auto: as GET /models ")
    assert big["limits"] == "per worker 64 calls at once, 16 more wait for up to 1.5 s; beyond: busy, 503"
    assert huge["limits"] == "per worker 512 calls at once, none waits; beyond: busy, 503"
    assert big["breaker"] == (
        "opens when 25 % of 10 calls or more failed within 20 s; ends after 5 s and 3 good checks in a row"
    )
    assert small["breaker"].endswith("ends after 10 s and 1 good check")
    assert small["health"] == "GET /models every 10 s, 2 s to answer"
    assert huge["health"] == "GET /health only to end an open breaker, 1 s to answer"
    assert small["base_urls"] == "http://gpu-1:8000/v1 http://gpu-2:8000/v1"
    assert small["affinity"].startswith("prefix: ")
    assert "affinity" not in big


@pytest.mark.parametrize("width", [80, 120])
def test_what_a_route_does_about_failures(everything: Path, width: int) -> None:
    said = sections(shown(everything, width))
    chat, search, usual = said["Route support-chat"], said["Route search"], said["Route usual"]
    assert chat["split"] == "5 % to small, 95 % to big"
    assert chat["order"] == "student first: small, then big, then huge teacher first: big, then huge"
    assert search["order"] == "student first: small, then nobody teacher first: big, then nobody"
    assert chat["retries"] == "none: the next is asked at once"
    assert usual["retries"].startswith("1 of the same upstream, after no connection, 5xx or 429")
    assert chat["on"] == "connect, busy, an open breaker: then the next is asked"
    assert chat["mid_stream"].startswith(
        "hold:20: a failure within the first 20 tokens is not seen; later a stream ends"
    )
    assert search["mid_stream"] == "error: a stream that breaks ends with an error"
    assert usual["mid_stream"].startswith("continue: a stream that breaks is continued by another")
    assert chat["hedge_after_s"].startswith("without a first token after the primary's p95 the next is asked too")
    assert search["hedge_after_s"].startswith("without a first token after 0.8 s ")
    assert usual["hedge_after_s"] == "off"
    assert chat["rollout"] == (
        "once it is started: 1 % (30 min at least), 100 % (2 d at least, after a promote) rolls back to 0 % when one "
        "of these fails: format_disagreement, shadow_loss pauses when one of these fails: ttft_p95 only shown: "
        "content_disagreement"
    )
    assert usual["rollout"] == "none: the split is what people make it"
    assert chat["shadow"] == (
        "0.1 of requests are mirrored, 1 of those at high risk "
        "judge: huge is sent 0.05 of pairs, redacted, for 5 dollars a day at most; for people only "
        "embedding: huge is sent 1 of pairs, redacted, without a limit; for people only"
    )
    assert usual["shadow"] == "off: no request is mirrored"
    assert chat["verify"].startswith("json, tools: ")
    assert chat["verify"].endswith("if all fail, an error is served")
    assert search["verify"] == "off"
    assert usual["verify"].startswith("json, schema, tools: ")
    assert usual["verify"].endswith("the last is served as it came")
    assert usual["deadlines"] == (
        "connect 2 s, first token 20 s, stall 20 s, total 300 s; whole answer 120 s while another could be asked"
    )


def test_every_limit_of_clients_is_said(everything: Path) -> None:
    said = sections(shown(everything, 80))["What clients may do, per worker"]
    assert said == {
        "body_bytes": "100,000 bytes",
        "json_depth": "64",
        "messages": "4,096",
        "head_bytes": "64 KiB",
        "headers": "128",
        "target_bytes": "8 KiB",
        "head_s": "10 s",
        "body_s": "30 s, and 1 s more for every 64 KiB",
        "reader_s": "60 s",
        "in_flight": "99",
        "connections": "10,000, and at most half of what `ulimit -n` allows",
    }


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal_and_shows_no_secret(everything: Path, width: int) -> None:
    output = shown(everything, width)
    first, *lines = output.splitlines()
    assert first.startswith(str(everything)[: width // 2])
    assert max(map(cell_len, lines)) <= width
    together = output.replace("\n", "").replace(" ", "")
    assert "S3CRET" not in together
    assert not [secret for secret in SECRETS if secret in together]


def test_a_long_address_is_wrapped_and_not_cut(tmp_path: Path) -> None:
    url = "http://" + "a-long-name." * 12 + "internal:8000/v1"
    path = tmp_path / "gateway.yaml"
    path.write_text(f"upstreams: {{a: {{base_url: '{url}', model: m}}}}\nroutes: {{r: {{teacher: a, student: a}}}}\n")
    assert sections(shown(path, 80))["Upstream a"]["base_url"].replace(" ", "") == url


def test_an_open_gateway_says_so(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("upstreams: {a: {base_url: http://h/v1, model: m}}\nroutes: {r: {teacher: a, student: a}}\n")
    said = sections(shown(path, 120))
    assert said["Gateway"]["keys"].startswith("Open: no keys")
    assert "Keys, limits of all replicas together" not in said


def test_a_config_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("listen: nowhere\nkeys: [{name: a, key: S3CRET}]\n")
    done = CliRunner().invoke(app, ["check", "-c", str(path)])
    assert done.exit_code == 1
    assert "listen: expected HOST:PORT, got 'nowhere'" in done.output
    assert "S3CRET" not in done.output
