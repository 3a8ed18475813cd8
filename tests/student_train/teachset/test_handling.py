"""Rules: what they say, which of several counts, and what they may not say."""

from pathlib import Path

import pytest

from student_train.teachset.handling import Rules, in_words, load


def rules(tmp_path: Path, text: str) -> Rules:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    return load(path)


def test_without_rules_everything_is_masked_and_consent_is_asked_for() -> None:
    said = load(None)
    assert said.action("any", "system", "name") == said.action("any", "metadata", "secret") == "mask"
    assert said.consent == ("train",)
    assert said.keep is None


def test_the_more_exact_word_counts(tmp_path: Path) -> None:
    said = rules(
        tmp_path,
        "tenants: {'*': {'*': {'*': keep, ip: drop}, user: {name: drop}}, globex: {user: {'*': mask}}}",
    )
    assert said.action("acme", "user", "name") == "drop"
    assert said.action("acme", "system", "name") == "keep"
    assert said.action("acme", "system", "ip") == "drop"
    assert said.action("globex", "user", "name") == "mask"
    assert said.action("globex", "system", "ip") == "drop"
    assert said.action("acme", "system", "secret") == "mask"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tenants: {'*': {user: {secret: keep}}}", "secret: expected mask or drop"),
        ("tenants: {'*': {users: {name: mask}}}", "tenants.*.users"),
        ("tenants: {'*': {user: {name: hide}}}", "tenants.*.user.name"),
        ("consents: [train]", "consents"),
        ("retention_days: 0", "retention_days"),
        ("identifiers: ['.*']", "fits names or nothing"),
        ("identifiers: ['(']", "expected a regular expression"),
        ("- a", "rules"),
        ("a: [", "expected handling rules in YAML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r".*") as error:
        rules(tmp_path, text)
    assert told in str(error.value)


def test_the_digest_is_of_what_they_say(tmp_path: Path) -> None:
    one = rules(tmp_path, "consent: [train]\ndrop_tenants: [b, a]")
    assert one.digest == rules(tmp_path, "drop_tenants: [a, b]").digest != load(None).digest


def test_kept_values_are_whole_words(tmp_path: Path) -> None:
    keep = rules(tmp_path, "identifiers: ['LF-[0-9]{6}']\npublic: [help@larkfield.example]").keep
    assert keep is not None
    assert keep.search("order LF-480112.")
    assert keep.search("Help@Larkfield.example")
    assert not keep.search("XLF-480112")
    assert not keep.search("mary.help@larkfield.example")


def test_in_words(tmp_path: Path) -> None:
    text = "\n".join(in_words(rules(tmp_path, "drop_tenants: [acme]\ntenants: {globex: {user: {name: drop}}}")))
    assert "Nothing of these tenants is used: acme" in text
    assert "Of tenant globex:" in text
    assert "names of people: a reason to leave the example out" in text
