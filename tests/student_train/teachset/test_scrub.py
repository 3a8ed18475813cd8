"""One value, one placeholder; JSON stays JSON; what a session shows is masked wherever it stands; tasks keep their
numbers."""

import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from student_train.teachset.placeholders import PLACEHOLDER, Placeholders
from student_train.teachset.scrub import Scrubber
from student_train.teachset.scrub_chat import Chat, Unusable, changed


def keyed(text: str) -> str:
    return hashlib.sha256(f"key {text}".encode()).hexdigest()


def scrub(*texts: str, keep: str | None = None, table: Placeholders | None = None) -> list[str]:
    scrubber = Scrubber(
        table or Placeholders(keyed, "s"), re.compile(keep) if keep else None, lambda where, kind: "mask"
    )
    for text in texts:
        scrubber.learn(text)
    return [scrubber.mask("user", text) for text in texts]


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("email", "Rosa.Keller@Example.com", "rosa.keller@example.com"),
        ("card", "4242 4242 4242 4242", "4242424242424242"),
        ("phone", "+44 7700 900123", "07700-900123"),
        ("iban", "DE89 3704 0044 0532 0130 00", "de89370400440532013000"),
        ("name", "Rosa  Keller", "ROSA KELLER"),
        ("address", "9 Alder Row,\nWexcombe", "9 alder row, Wexcombe"),
    ],
)
def test_one_value_however_written_is_one(kind: str, one: str, other: str) -> None:
    table = Placeholders(keyed, "s")
    assert table.of(kind, one) == table.of(kind, other) == f"<{kind.upper()}_1>"


def test_secrets_are_compared_as_they_are() -> None:
    table = Placeholders(keyed, "s")
    assert table.of("secret", "Hunter2") != table.of("secret", "hunter2")


def test_a_table_is_kept_without_values_and_goes_on() -> None:
    table = Placeholders(keyed, "s")
    table.of("email", "rosa@example.com")
    assert table.of("email", "idris@example.com") == "<EMAIL_2>"
    stored = table.stored()
    assert "rosa" not in json.dumps(stored)
    again = Placeholders(keyed, "s", stored)
    assert again.of("email", "leila@example.com") == "<EMAIL_3>"
    assert again.of("email", "rosa@example.com") == "<EMAIL_1>"
    other = Placeholders(keyed, "another session")
    other.of("email", "rosa@example.com")
    assert not set(other.stored()) & set(stored)


def test_what_looks_like_a_placeholder_is_nobody_elses() -> None:
    assert scrub("I am <EMAIL_1>, or rosa@example.com") == ["I am <EMAIL_1>, or <EMAIL_2>"]


def test_a_name_is_masked_wherever_the_session_has_it() -> None:
    first, second, third = scrub(
        "Could you tell Rosa that the kettle came?",
        '{"first_name": "Rosa", "last_name": "Keller", "login": "keller_rosa_77", "items": [{"name": "Water Bottle"}]}',
        "Mrs Keller is out; ROSA KELLER signed. Rosary beads are no name.",
    )
    assert first == "Could you tell <NAME_1> that the kettle came?"
    assert second == (
        '{"first_name": "<NAME_1>", "last_name": "<NAME_1>", "login": "<USER_1>", "items": [{"name": "Water Bottle"}]}'
    )
    assert third == "Mrs <NAME_1> is out; <NAME_1> signed. Rosary beads are no name."


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("my name is rosa keller.", "my name is <NAME_1>."),
        ("Hi Rosa,\nlost.\nBest regards,\nIdris Farouk", "Hi <NAME_1>,\nlost.\nBest regards,\n<NAME_2>"),
        ("Dear Support Team, where is it?", "Dear Support Team, where is it?"),
        ("Thanks for your help", "Thanks for your help"),
        ("Ich wohne Lindenstraße 12, 04229 Leipzig.", "Ich wohne <ADDRESS_1>."),
        ("I was born on 3 May 1984, bought on 3 May 2024.", "I was born on <BIRTH_DATE_1>, bought on 3 May 2024."),
        ("My password is Sommer-24! please", "My password is <SECRET_1> please"),
        ("My password is wrong, and the token is missing", "My password is wrong, and the token is missing"),
        ("My number is 0900 944 6659.", "My number is <PHONE_1>."),
        ("2 x 79 EUR, due 26 Nov 2026 (in 2 days)", "2 x 79 EUR, due 26 Nov 2026 (in 2 days)"),
    ],
)  # fmt: skip
def test_prose(text: str, scrubbed: str) -> None:
    assert scrub(text) == [scrubbed]


def test_fields_of_json_say_what_is_in_them() -> None:
    text = (
        '{"name": {"first_name": "Yusuf"},\n  "zip": 19122, "tel": 4155550132, "user": {"name": "Ana"}, "count": 19,'
        '"address": {"address1": "763 Broadway", "city": "Lyon", "country": "USA"}, "x": {"city": "Paris"}, "token": 9,'
        '"headers": {"Authorization": "Bearer abc.def-1"}, "sold": {"name": "Desk Lamp", "price": 3}}'
    )
    (scrubbed,) = scrub(text)
    read = json.loads(scrubbed)
    assert scrubbed.startswith('{"name": {"first_name": "<NAME_1>"},\n  "zip": "<ADDRESS_1>", "tel": "<PHONE_1>"')
    assert read["user"] == {"name": "<NAME_2>"}
    assert read["address"] == {"address1": "<ADDRESS_2>", "city": "<ADDRESS_3>", "country": "USA"}
    assert read["headers"] == {"Authorization": "Bearer <SECRET_1>"}
    assert (read["count"], read["token"]) == (19, 9)
    assert (read["x"]["city"], read["sold"]["name"]) == ("Paris", "Desk Lamp")


def test_json_in_a_string_in_json_in_prose() -> None:
    inner = json.dumps({"email": "rosa@example.com", "rosa@example.com": 1})
    (scrubbed,) = scrub(f"Context:\n{json.dumps({'body': inner})}\nMessage: it is rosa@example.com")
    assert "rosa" not in scrubbed
    body = scrubbed.split("\n")[1]
    assert json.loads(json.loads(body)["body"]) == {"email": "<EMAIL_1>", "<EMAIL_1>": 1}
    assert scrubbed.endswith("it is <EMAIL_1>")


def test_numbers_of_the_task_are_kept_unless_they_are_part_of_more() -> None:
    keep = r"(?<!\w)(?:#W[0-9]{7}|[0-9]{6})(?!\w)"
    assert scrub("order #W1234567, 480112", keep=keep) == ["order #W1234567, 480112"]
    assert scrub("Personal identity number: 500918-8375", keep=keep) == ["Personal identity number: <NATIONAL_ID_1>"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "zip", "phone", "address", "x", "password", "user"]) | st.text(), inner
        )
    ),
    max_leaves=12,
)


def shape(value: Any) -> Any:
    """What has to stay: how many there are of what, in which order. A number may become a string."""
    if isinstance(value, list):
        return [shape(one) for one in value]
    if isinstance(value, dict):
        return [shape(one) for one in value.values()]
    return value if isinstance(value, bool) or value is None else "scalar"


@settings(max_examples=150, deadline=None)
@given(_JSON.filter(lambda value: isinstance(value, (list, dict))), st.booleans())
def test_what_was_json_is_json_of_the_same_shape(value: Any, plain: bool) -> None:
    (scrubbed,) = scrub(json.dumps(value, ensure_ascii=plain))
    assert shape(json.loads(scrubbed)) == shape(value)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("Hi Rosa,\n@.exmplc0123456789-+(){}[]\":'<>_/ÄßЖ語"), max_size=120))
def test_any_text_can_be_scrubbed_and_is_clean_then(text: str) -> None:
    (scrubbed,) = scrub(text)
    assert PLACEHOLDER.search(scrubbed) or scrubbed == text


def test_all_texts_of_a_chat_are_seen() -> None:
    call = {"id": "call_x9", "type": "function", "function": {"name": "f", "arguments": '{"q": "arguments"}'}}
    chat = Chat(
        (
            {"role": "system", "content": "system"},
            {"role": "user", "content": [{"type": "text", "text": "part"}], "name": "sender"},
            {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "secret thoughts"},
            {"role": "tool", "tool_call_id": "call_x9", "content": "result"},
        ),
        (
            {
                "type": "function",
                "function": {"name": "f", "description": "described", "parameters": {"type": "object"}},
            },
        ),
        {"type": "json_schema", "json_schema": {"schema": {"description": "schema"}}},
        "served",
        "gold",
    )
    seen: list[tuple[str, str]] = []

    def see(where: str, text: str) -> str:
        seen.append((where, text))
        return text.upper()

    made = changed(chat, see)
    assert {where for where, _ in seen} == {"system", "user", "assistant", "tool_arguments", "tool_results", "metadata"}
    assert [text for _, text in seen] == [
        "system", "sender", "part", '{"q": "arguments"}', "result", "described", "schema", "served", "gold"
    ]  # fmt: skip
    assert "thoughts" not in repr(made)
    assert made.messages[2]["tool_calls"][0]["id"] == made.messages[3]["tool_call_id"] == "call_1"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:..."}}]},
        {"role": "someone", "content": "x"},
        {"role": "user", "content": 3},
    ],
)
def test_what_cannot_be_scrubbed_is_not_used(message: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        changed(Chat((message,)), lambda where, text: text)
