"""gateway.yaml: what is accepted, and what is said about what is not."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Config, ConfigError, is_loopback, load, parse, split_listen
from router_policies.prices import Price

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "gateway.yaml"
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


def test_the_example_starts_as_it_is_and_documents_every_key() -> None:
    config = load(EXAMPLE, {})
    assert config.open
    text = EXAMPLE.read_text()

    def names(model: Any) -> set[str]:
        found = set()
        for name, field in model.model_fields.items():
            found.add(name)
            for inner in [field.annotation, *getattr(field.annotation, "__args__", ())]:
                if hasattr(inner, "model_fields"):
                    found |= names(inner)
        return found

    missing = [name for name in names(Config) if f"{name}:" not in text]
    assert not missing


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
            "routes.r.student_percent: input should be a valid number, unable to parse string as a number, got 'many'",
        ),
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


@pytest.mark.parametrize("key", ["short", 12345678])
def test_a_wrong_secret_is_not_shown(key: object) -> None:
    said = problems(keys=[{"name": "a", "key": key}])
    assert str(key) not in str(said)
    assert said[0].startswith("keys.0.key: ")


@pytest.mark.parametrize("text", ["", "- a", "a: [", "just text"])
def test_files_that_are_no_config(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"gateway\.yaml"):
        load(path)


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
