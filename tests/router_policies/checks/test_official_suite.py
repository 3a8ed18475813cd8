"""The official JSON Schema test suite: every mandatory test of the five drafts, and the formats of two of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from router_policies.checks import schema
from router_policies.checks.check import Outcome
from router_policies.checks.json_schema import make
from tests.router_policies.checks.saying import asks, says

DATA = Path(__file__).parents[2] / "data" / "json-schema"
DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
# The tests there are, and of them those whose schemas refer to other documents: the check fetches none.
TESTS = {"draft4": 610, "draft6": 829, "draft7": 913, "draft2019-09": 1227, "draft2020-12": 1257}
ELSEWHERE = {"draft4": 17, "draft6": 23, "draft7": 23, "draft2019-09": 36, "draft2020-12": 49}
FORMATS = {"draft7": 434, "draft2020-12": 491}
REQUEST = asks()


def cases(name: str) -> Iterator[tuple[str, Any, list[dict[str, Any]]]]:
    """Where each schema stands, the schema with its draft said, its tests."""
    for file, found in json.loads((DATA / f"{name}.json").read_text()).items():
        for case in found:
            given = case["schema"]
            if isinstance(given, dict):
                given = {"$schema": DRAFTS[name.removesuffix("-formats")], **given}
            yield f"{file}: {case['description']}", given, case["tests"]


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_check_agrees_with_every_mandatory_test(draft: str) -> None:
    """Through the check, from the text of an answer to its outcome. What refers elsewhere is refused, and run below."""
    agreed = elsewhere = 0
    for where, given, tests in cases(draft):
        try:
            check = make({"schema": given, "formats": False})
        except ValueError as error:
            assert "refers to another document" in str(error)
            elsewhere += len(tests)
            continue
        for test in tests:
            found = check.judge(REQUEST, says(json.dumps(test["data"])), None).outcome
            expected = Outcome.PASS if test["valid"] else Outcome.FAIL
            assert found is expected, f"{where}: {test['description']}"
            agreed += 1
    assert (agreed + elsewhere, elsewhere) == (TESTS[draft], ELSEWHERE[draft])


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_validator_agrees_with_all_of_them_given_the_other_documents(draft: str) -> None:
    documents = json.loads((DATA / "remotes.json").read_text())
    count = 0
    for where, given, tests in cases(draft):
        validator = schema.compile_rs(given, formats=False, retriever=documents.__getitem__)
        assert validator is not None, where
        for test in tests:
            assert validator.is_valid(test["data"]) is test["valid"], f"{where}: {test['description']}"
            count += 1
    assert count == TESTS[draft]


@pytest.mark.parametrize("draft", FORMATS)
def test_formats_are_asserted(draft: str) -> None:
    count = 0
    for where, given, tests in cases(f"{draft}-formats"):
        for test in tests:
            wrong = schema.misfit(json.dumps(given).encode(), test["data"], json.dumps(test["data"]))
            assert (wrong is None) is test["valid"], f"{where}: {test['description']}"
            count += 1
    assert count == FORMATS[draft]


@pytest.mark.parametrize("draft", DRAFTS)
def test_schemas_of_strangers_are_judged_rightly_or_not_at_all(draft: str) -> None:
    """With the bound on time that schemas in requests have: nine in ten of these odd ones are still judged."""
    checked = count = 0
    for where, given, tests in cases(draft):
        for test in tests:
            count += 1
            text = json.dumps(test["data"])
            try:
                wrong = schema.misfit(json.dumps(given).encode(), test["data"], text, formats=False)
            except schema.UncheckedError:
                continue
            assert (wrong is None) is test["valid"], f"{where}: {test['description']}"
            checked += 1
    assert checked > 0.9 * count
