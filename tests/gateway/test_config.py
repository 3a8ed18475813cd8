"""gateway.yaml: what is accepted, and what is said about what is not."""

import re
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from gateway.config import (
    ConfigError,
    KeyConfig,
    KeyLimitsConfig,
    describe,
    is_loopback,
    load,
    parse,
    split_listen,
)
from router_policies.budgets import KeyLimits
from router_policies.prices import Price

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "gateway.yaml"
UNSAID = object()
BAD = ("\n", " x", "\r\nx-evil: 1", "\x00", "\x7f", "é", "–")
ENV = {"APP_KEY": "app-key-123", "SRE_KEY": "sre-key-123", "STUDENT_KEY": "student-key-1"}


def document(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = yaml.safe_load(
        """
        listen: 127.0.0.1:8080
        store: sqlite:///understudy.db
        upstreams:
          big:   {base_url: "http://127.0.0.1:9001/v1", model: smollm2-135m, price: {input: 2.50, output: 10.00}}
          small: {base_url: "http://127.0.0.1:9002/v1", model: student, api_key: "${STUDENT_KEY}"}
        routes:
          support-chat: {teacher: big, student: small, student_percent: 25}
        """
    )
    return {**base, **changes}


def problems(**changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(document(**changes), "gateway.yaml", ENV)
    return caught.value.problems


def test_a_config_and_its_defaults() -> None:
    config = parse(document(), "gateway.yaml", ENV)
    assert config.open
    assert config.upstreams["big"].price.price() == Price.per_million(Decimal("2.5"), Decimal(10))
    secret = config.upstreams["small"].api_key
    assert secret is not None
    assert secret.get_secret_value() == "student-key-1"
    route = config.build_routes().by_name["support-chat"]
    assert (route.student_percent, route.sticky) == (25, ("header:x-session-id", "user", "key"))
    assert (route.deadlines.connect_s, route.deadlines.total_s, route.version) == (2, 300, 0)


def rollout(shadow: dict[str, Any] | None, risk: dict[str, Any] | None = None, **written: Any) -> dict[str, Any]:
    route = {"teacher": "big", "student": "small", "shadow": shadow, "risk": risk, "rollout": written}
    return {"routes": {"r": route}}


def facts(model: BaseModel, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The path of each key, its value (`UNSAID` if the file does not have it) and its default."""
    for field, info in type(model).model_fields.items():
        name, value = f"{path}{info.alias or field}", getattr(model, field)
        if isinstance(value, BaseModel):
            yield from facts(value, f"{name}.")
        elif isinstance(value, dict):
            for one in value.values():
                yield from facts(one, f"{name}.*.")
        else:
            yield name, value if field in model.model_fields_set else UNSAID, info.default


def test_the_example_starts_as_it_is_and_says_every_key_with_its_default() -> None:
    config = load(EXAMPLE, {})
    assert config.open
    said: dict[str, list[Any]] = {}
    defaults: dict[str, Any] = {}
    for path, value, default in facts(config):
        said.setdefault(path, []).append(value)
        defaults[path] = default
    # What has a default shows it, at one of the upstreams at least.
    shown = {path for path, default in defaults.items() if default in said[path]}
    assert set(defaults) - shown == {
        *("upstreams.*.api_key", "upstreams.*.base_url", "upstreams.*.base_urls", "upstreams.*.model"),
        *("upstreams.*.price.input", "upstreams.*.price.output", "upstreams.*.price.cached_input"),
        *("routes.*.teacher", "routes.*.student", "routes.*.student_percent"),
        *("routes.*.safety_net.start", "routes.*.safety_net.end"),
    }
    commented = "\n".join(line for line in EXAMPLE.read_text().splitlines() if line.lstrip().startswith("#"))
    for name in (*KeyConfig.model_fields, *KeyLimitsConfig.model_fields, "api_key"):
        assert re.search(rf"^ *# +{name}\b", commented, re.MULTILINE), f"{name} is not in a comment"


def test_secrets_do_not_show_in_what_is_printed() -> None:
    config = parse(document(keys=[{"name": "a", "role": "admin", "key": "${APP_KEY}"}]), "gateway.yaml", ENV)
    assert "app-key-123" not in repr(config)
    assert "student-key-1" not in repr(config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"listne": 1}, "listne: not a key that exists here"),
        ({"listen": "8080"}, "listen: expected HOST:PORT, got '8080'"),
        ({"listen": "0.0.0.0:8080"}, "keys: none are set, so listen must be a loopback address, got '0.0.0.0:8080'"),
        ({"store": "postgres://x"}, "store: expected sqlite:///PATH"),
        ({"upstreams": {}}, "upstreams: "),
        (
            {"routes": {"r": {"teacher": "big", "student": "tiny"}}},
            "routes.r.student: expected one of big, small, got 'tiny'",
        ),
        ({"routes": {"r": {"teacher": "big"}}}, "routes.r.student: required, and not there"),
        ({"routes": {"a|b": {"teacher": "big", "student": "small"}}}, "a|b: expected a name of letters"),
        (
            {"routes": {"r": {"teacher": "big", "student": "small", "student_percent": 250}}},
            "routes.r.student_percent: input should be less than or equal to 100, got 250",
        ),
        (
            {"routes": {"r": {"teacher": "big", "student": "small", "student_percent": "many"}}},
            "routes.r.student_percent: input should be a valid number, got 'many'",
        ),
        *(
            (
                {"routes": {"r": {"teacher": "big", "student": "small", "student_percent": percent}}},
                f"routes.r.student_percent: input should be a valid number, got {percent!r}",
            )
            for percent in (True, "50")  # `yes` in YAML is true
        ),
        (
            {"routes": {"r": {"teacher": "big", "student": "small", "deadlines": {"ttft_s": True}}}},
            "routes.r.deadlines.ttft_s: input should be a valid number, got True",
        ),
        ({"limits": {"in_flight": True}}, "limits.in_flight: input should be a valid integer, got True"),
        ({"drain_s": "30"}, "drain_s: input should be a valid number, got '30'"),
        ({"listen": "localhost:８０"}, "listen: expected HOST:PORT, got 'localhost:８０'"),
        (
            {"routes": {"r": {"teacher": "big", "student": "small", "sticky": ["cookie:x"]}}},
            "routes.r.sticky: expected header:NAME, user or key, got 'cookie:x'",
        ),
        (
            {"routes": {"r": {"teacher": "big", "student": "small", "deadlines": {"ttft_s": 0}}}},
            "routes.r.deadlines.ttft_s: input should be greater than 0, got 0",
        ),
        (
            {"upstreams": {"big": {"base_url": "9001", "model": "m"}, "small": {"base_url": "http://h", "model": "m"}}},
            "upstreams.big.base_url: expected a URL like http://host:port/v1, got '9001'",
        ),
        ({"keys": [{"name": "a", "key": "app-key-123"}]}, "keys: expected at least one with role: admin"),
        (rollout(None), "routes.r.rollout: expected a shadow block beside it"),
        (rollout({"timeout_s": 120}), "routes.r.rollout.late: expected more than shadow.timeout_s (120 s), got 120 s"),
        (
            rollout({"sample": {"default": 0.01}}),
            "routes.r.rollout.steps: stratum default: selected with",
        ),
        (
            rollout({}, steps=[{"weight": 1, "min_bake": "1m"}, {"weight": 100, "min_bake": 0}]),
            "routes.r.rollout.steps.0.min_bake: expected at least late (120 s), got 60 s",
        ),
        (
            rollout({"sample": {"high_risk": 0.01}}, risk={}),
            "routes.r.rollout.steps: stratum medium: selected with",
        ),
        (
            rollout({}, checks=[{"name": "tone", "of": ["tone_of_voice"], "tolerance": 0.1, "critical": True}]),
            "routes.r.rollout.checks.0.of: expected a family (format, policy, content) or a check of the route's packs",
        ),
        ({"keys": [{"name": "a", "key": "${NOT_SET}"}]}, "keys.0.key: the environment variable NOT_SET is not set"),
        (
            {"keys": [{"name": n, "role": "admin", "key": "same-secret"} for n in "ab"]},
            "keys.1.key: the same as an earlier key's",
        ),
    ],
)
def test_what_is_wrong_is_said_by_path(changes: dict[str, Any], said: str) -> None:
    assert any(problem.startswith(said) for problem in problems(**changes)), problems(**changes)


def test_all_problems_are_named_at_once() -> None:
    routes = {"r": {"teacher": "big", "student": "small", "student_percent": 101, "sticky": ["x"]}}
    assert len(problems(routes=routes, listen="nowhere")) == 3


def upstream(**changes: Any) -> dict[str, Any]:
    return {"upstreams": {"small": {"base_url": "http://h/v1", "model": "m"}, "big": {**BIG, **changes}}}


BIG = {"base_url": "http://127.0.0.1:9001/v1", "model": "m"}
MARK = "S3CRET-0123"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keys": [{"name": "a", "key": MARK[:6]}]}, "keys.0.key: expected 8 or more characters"),
        ({"keys": [{"name": "a", "key": 12345678}]}, "keys.0.key: input should be a valid string, got a number"),
        ({"keys": {"name": "a", "role": "admin", "key": MARK}}, "keys: input should be a valid list, got a mapping"),
        ({"keys": [MARK]}, "keys.0: input should be a valid dictionary or instance of KeyConfig, got text"),
        ({"keys": MARK}, "keys: input should be a valid list, got text"),
        (
            {"keys": [{"name": {"key": MARK}, "key": MARK}]},
            "keys.0.name: input should be a valid string, got a mapping",
        ),
        ({"upstreams": [{**BIG, "api_key": MARK}]}, "upstreams: input should be a valid dictionary, got a list"),
        ({"upstreams": {"big": ["api_key", MARK]}}, "upstreams.big: input should be a valid dictionary or instance"),
        (upstream(api_key=[MARK]), "upstreams.big.api_key: input should be a valid string, got a list"),
        (upstream(base_url=[MARK]), "upstreams.big.base_url: input should be a valid string, got a list"),
        (upstream(base_url=f"https://user:{MARK}@h/v1"), "upstreams.big.base_url: expected a URL without credentials"),
        (upstream(base_url=f"htps://user:{MARK}@h/v1"), "upstreams.big.base_url: expected a URL without credentials"),
        (upstream(base_url=f"https://h/v1?key={MARK}"), "upstreams.big.base_url: expected a URL without credentials"),
        (upstream(base_url=f"https:/user:{MARK}@h/v1"), "upstreams.big.base_url: expected a URL like"),
        (
            upstream(base_url=f"https://user:{MARK}"),
            "upstreams.big.base_url: expected a URL like http://host:port/v1 wi",
        ),
        (
            upstream(base_url=f"http://h:0/{MARK}"),
            "upstreams.big.base_url: expected a URL like http://host:port/v1 with",
        ),
        *((upstream(api_key=f"{MARK}{bad}"), "upstreams.big.api_key: expected printable ASCII") for bad in BAD),
        *(
            ({"keys": [{"name": "a", "role": "admin", "key": f"{MARK}{bad}"}]}, "keys.0.key: expected printable ASCII")
            for bad in BAD
        ),
        *((upstream(base_url=f"http://h/{MARK}{bad}"), "upstreams.big.base_url: expected a URL of") for bad in BAD),
        (upstream(api_key=""), "upstreams.big.api_key: expected printable ASCII characters, got nothing"),
    ],
)
def test_a_wrong_secret_is_refused_and_not_shown(changes: dict[str, Any], said: str) -> None:
    got = problems(**changes)
    assert any(problem.startswith(said) for problem in got), got
    assert "S3CRET" not in str(got)
    assert "12345678" not in str(got)


def test_a_key_is_given_by_its_digest_and_has_limits_only_if_they_are_said() -> None:
    digest = sha256(b"app-key-123").hexdigest()
    limits = {"tokens_per_minute": 5, "concurrency": None}
    named = {"name": "a", "role": "admin", "key_sha256": digest.upper(), "limits": limits}
    config = parse(document(keys=[named, {"name": "b", "key": "${SRE_KEY}"}]), "gateway.yaml", ENV)
    by_digest, by_key = config.keys
    assert (by_digest.digest.hex(), by_key.digest) == (digest, sha256(b"sre-key-123").digest())
    assert by_digest.limits.limits() == KeyLimits(tokens_per_minute=5)
    assert by_key.limits.limits() is None
    assert digest not in repr(config)
    assert digest.upper() not in repr(config)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ({}, "keys.0: expected key or key_sha256, got neither"),
        ({"key": "app-key-123", "key_sha256": "0" * 64}, "keys.0: expected key or key_sha256, got both"),
        ({"key_sha256": MARK}, "keys.0.key_sha256: expected 64 hexadecimal digits"),
        ({"key_sha256": "g" * 64}, "keys.0.key_sha256: expected 64 hexadecimal digits"),
        ({"key": "app-key-123", "limits": {"concurrency": 0}}, "keys.0.limits.concurrency: input should be greater"),
        ({"key": "app-key-123", "limits": {"tokens": 1}}, "keys.0.limits.tokens: not a key that exists here"),
        ({"key": "app-key-123", "limits": {"concurrency": "5"}}, "keys.0.limits.concurrency: input should be a valid"),
    ],
)
def test_keys_that_are_none(key: dict[str, Any], said: str) -> None:
    got = problems(keys=[{"name": "a", "role": "admin", **key}])
    assert any(problem.startswith(said) for problem in got), got
    assert MARK not in str(got)


def test_a_key_and_its_digest_are_the_same_key() -> None:
    keys = [
        {"name": "a", "role": "admin", "key": "app-key-123"},
        {"name": "b", "key_sha256": sha256(b"app-key-123").hexdigest()},
    ]
    assert problems(keys=keys) == ["keys.1.key: the same as an earlier key's"]


def test_a_message_begins_small_unless_it_begins_with_an_abbreviation() -> None:
    for message, said in (("JSON is not valid", "a.0: JSON is"), ("Input is not valid", "a.0: input is")):
        assert describe({"type": "x", "loc": ("a", 0), "msg": message, "input": 1}).startswith(said)


def test_long_values_are_cut() -> None:
    assert max(len(problem) for problem in problems(routing_headers="x" * 10_000)) < 300


@pytest.mark.parametrize("price", ["1e30", 1e30, float("inf"), float("nan"), True, -1, 0.0000001])
def test_prices_that_are_none(price: object) -> None:
    assert problems(**upstream(price={"input": price}))[0].startswith("upstreams.big.price.input: ")


@pytest.mark.parametrize("price", ["2.50", 2.5, 1_000_000, 0.000001, 0])
def test_every_price_that_is_accepted_can_be_counted_with(price: object) -> None:
    config = parse(document(**upstream(price={"input": price})), "gateway.yaml", ENV)
    assert config.upstreams["big"].price.price() == Price.per_million(Decimal(str(price)), Decimal(0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping of keys, got nothing"),
        ("- a", "expected a mapping of keys, got a list"),
        ("just text", "expected a mapping of keys, got text"),
        ("a: [", "not YAML: "),
        ("a: &a [*a]\nupstreams: *a\n", "an alias holds itself"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("listen: 2026-99-99", r"not YAML: .*\(line 1, column 9\)"),
        ("routes: {a: 1}\nlisten: x\nroutes: {b: 1}\n", r"the key routes is there twice \(line 3, column 1\)"),
        (f'keys:\n  - {{name: sre, key: "{MARK}}}\n', "not YAML: found unexpected end of stream"),
        (f"keys:\n  - {{name: sre, key: @{MARK}}}\n", "not YAML: found character '@' that cannot start any token"),
        (f"keys:\n  - key: *{MARK}\n", r"not YAML: there is something here that cannot be read \(line 2, column 10\)"),
        (f"keys:\n  - key: !{MARK} x\n", "not YAML: there is something here that cannot be read"),
        (f"keys:\n  - key: !!int {MARK}\n", "not YAML: expected what looks like a date or a number"),
        (f"keys: {MARK}\x00", "not YAML: it has characters that YAML does not allow"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load(path, {})
    assert str(caught.value).startswith(f"{path}:")
    assert "S3CRET" not in str(caught.value)


def test_what_one_mapping_takes_from_another_it_may_say_anew(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "upstreams:\n  a: &a {base_url: http://h, model: m}\n  b: {<<: *a, model: n}\n"
        "routes: {r: {teacher: a, student: b}}\n"
    )
    assert load(path, {}).upstreams["b"].model == "n"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "gateway.yaml")


@pytest.mark.parametrize(
    ("listen", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("localhost:1", "localhost", 1, True),
        ("[::1]:80", "::1", 80, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("gateway.internal:80", "gateway.internal", 80, False),
    ],
)
def test_listen_addresses(listen: str, host: str, port: int, loopback: bool) -> None:
    assert split_listen(listen) == (host, port)
    assert is_loopback(host) is loopback
