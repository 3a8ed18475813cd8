"""What providers say when they fail, and what it means."""

import json

import pytest

from router_policies.failures import (
    BLAMED,
    Failure,
    FailureKind,
    in_stream_status,
    of_answer,
    of_event,
    read_retry_after,
)

K = FailureKind


def openai(code: object = None, message: str = "", kind: str = "invalid_request_error", **more: object) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code, **more}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        # OpenAI
        (400, openai("context_length_exceeded", "This model's maximum context length is 8192."), K.CONTEXT_LENGTH),
        (400, openai("content_policy_violation", "Your request was rejected."), K.CONTENT_FILTER),
        (400, openai("invalid_value", "temperature must be at most 2"), K.CLIENT_ERROR),
        (401, openai("invalid_api_key", "Incorrect API key provided"), K.HTTP_401),
        (403, openai("unsupported_country", "Country not supported"), K.CLIENT_ERROR),
        (404, openai("model_not_found", "The model does not exist"), K.CLIENT_ERROR),
        (422, openai(None, "Field required"), K.CLIENT_ERROR),
        # Azure
        (
            400,
            openai("content_filter", "the prompt", innererror={"code": "ResponsibleAIPolicyViolation"}),
            K.CONTENT_FILTER,
        ),
        # vLLM, now and before its errors were wrapped
        (
            400,
            openai(
                400,
                "This model's maximum context length is 1024 tokens. However, you requested 2048",
                "BadRequestError",
            ),
            K.CONTEXT_LENGTH,
        ),
        (
            400,
            b'{"object": "error", "message": "maximum context length is 1024", "type": "BadRequestError"}',
            K.CONTEXT_LENGTH,
        ),
        # llama.cpp
        (
            400,
            openai(400, "the request exceeds the available context size", "exceed_context_size_error"),
            K.CONTEXT_LENGTH,
        ),
        # others
        (413, openai(None, "prompt is too long: 210000 tokens > 200000 maximum"), K.CONTEXT_LENGTH),
        (408, b"", K.HTTP_5XX),
        (429, openai("rate_limit_exceeded"), K.HTTP_429),
        (500, b"<html>", K.HTTP_5XX),
        (503, openai("context_length_exceeded"), K.HTTP_5XX),
        (529, openai(None, "Overloaded", "overloaded_error"), K.HTTP_5XX),
        (302, b"", K.INVALID_STREAM),
        # bodies that are none
        (400, b"", K.CLIENT_ERROR),
        (400, b"\xff\xfe", K.CLIENT_ERROR),
        (400, b'{"error": "context length exceeded"}', K.CONTEXT_LENGTH),
        (400, b'["context_length_exceeded"]', K.CLIENT_ERROR),
        (400, b"[" * 100_000, K.CLIENT_ERROR),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, kind: FailureKind) -> None:
    assert of_answer(status, body).kind is kind


def test_what_a_user_wrote_is_no_verdict() -> None:
    body = openai("invalid_value", "messages.0.content", detail="content_filter flagged context_length_exceeded")
    assert of_answer(400, body).kind is K.CLIENT_ERROR


def test_a_spent_quota_is_hopeless_and_a_rate_limit_is_not() -> None:
    assert of_answer(429, openai("insufficient_quota"), 1.0) == Failure(K.HTTP_429, 1.0, hopeless=True)
    assert of_answer(429, openai("rate_limit_exceeded"), 1.0) == Failure(K.HTTP_429, 1.0, hopeless=False)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "out of memory", "code": 500}, K.HTTP_5XX),
        ({"message": "slow down", "code": "429"}, K.HTTP_429),
        ({"message": "slow down", "type": "rate_limit_error"}, K.HTTP_429),
        ({"message": "too long", "code": "context_length_exceeded"}, K.CONTEXT_LENGTH),
        ({"message": "no", "code": "content_filter"}, K.CONTENT_FILTER),
        ({"message": "no", "type": "invalid_request_error"}, K.CLIENT_ERROR),
        ({"message": "what"}, K.HTTP_5XX),
        ("text", K.HTTP_5XX),
        (7, K.HTTP_5XX),
        ({"code": True}, K.HTTP_5XX),
    ],
)
def test_what_an_error_inside_a_stream_means(error: object, kind: FailureKind) -> None:
    assert of_event(error).kind is kind


def test_the_status_an_error_inside_a_stream_would_have_had() -> None:
    errors = ({"code": 503}, {"code": 400}, {"code": "x"}, {"code": 200}, "text")
    assert [in_stream_status(error) for error in errors] == [503, 400, 502, 502, 502]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"3", 3.0),
        (b" 0 ", 0.0),
        (b"1.5", 1.5),
        (b"Wed, 21 Oct 2015 07:28:00 GMT", 10.0),
        (b"Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        (b"-1", None),
        (b"soon", None),
        (b"", None),
        (b"inf", None),
        (b"nan", None),
        (b"\xff", None),
        (b"9" * 5000, 86_400.0),
    ],
)
def test_retry_after(value: bytes, seconds: float | None) -> None:
    assert read_retry_after(value, wall_s=1445412470.0) == seconds


def test_neither_clients_nor_rate_limits_are_signs_of_illness() -> None:
    assert {K.CONNECT, K.TIMEOUT, K.HTTP_5XX, K.INVALID_STREAM} == BLAMED
