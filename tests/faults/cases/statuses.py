"""Providers that answer with a status that says: not now."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.faults.answers import always, each, error, good, response
from tests.faults.case import SLACK_S, Case, Expect
from tests.faults.server import Script

BACKOFF_S = (0.08, 0.32 + SLACK_S)  # the first back-off is 0.1 to 0.3 s, jitter included
ONCE_MORE = Expect(by="small", small=2, big=0, gap_s=BACKOFF_S, within_s=(0.08, 1.0))


def _status(status: str, extra: str = "", kind: str = "server_error", code: object = None) -> Script:
    return always(response(error(f"The provider says {status}.", kind, code), status, extra))


def _limited(extra: str = "", code: str = "rate_limit_exceeded") -> Script:
    return _status("429 Too Many Requests", extra, "requests", code)


def _in_an_hour() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


def _fallback(reason: str, small: int = 2) -> Expect:
    return Expect(why=f"fallback:{reason}", small=small, gap_s=BACKOFF_S, within_s=(0.0, 1.0))


PATIENT = {"ttft_s": 2.5, "answer_s": 2.5}

CASES = (
    Case(
        name="429-short-retry-after",
        fault="429, `Retry-After: 1`, then well",
        small=each(_limited("retry-after: 1\r\n"), good()),
        deadlines=PATIENT,
        expect=ONCE_MORE.but(gap_s=(1.0, 1.0 + SLACK_S), within_s=(1.0, 1.0 + SLACK_S)),
    ),
    Case(
        name="429-long-retry-after",
        fault="429, `Retry-After: 60`",
        small=_limited("retry-after: 60\r\n"),
        expect=Expect(why="fallback:http_429"),
    ),
    Case(
        name="429-retry-after-past-the-deadline",
        fault="429, `Retry-After: 2` with 0.8 s left for the first token",
        small=_limited("retry-after: 2\r\n"),
        expect=Expect(why="fallback:http_429"),
    ),
    Case(
        name="429-retry-after-a-date",
        fault="429, `Retry-After:` a date in an hour",
        small=_limited(f"retry-after: {_in_an_hour()}\r\n"),
        expect=Expect(why="fallback:http_429"),
    ),
    Case(
        name="429-retry-after-nonsense",
        fault="429, `Retry-After: soon`",
        small=_limited("retry-after: soon\r\n"),
        expect=_fallback("http_429"),
    ),
    Case(name="429-bare", fault="429 without `Retry-After`, for good", small=_limited(), expect=_fallback("http_429")),
    Case(
        name="429-once",
        fault="429 without `Retry-After`, then well",
        small=each(_limited(), good()),
        expect=ONCE_MORE,
    ),
    Case(
        name="429-quota",
        fault="429 `insufficient_quota`: waiting will not help",
        small=_limited(code="insufficient_quota"),
        expect=Expect(why="fallback:http_429"),
    ),
    *(
        Case(
            name=status.partition(" ")[0],
            fault=f"{status}, for good",
            small=_status(status),
            expect=_fallback("http_5xx"),
        )
        for status in ("500 Internal Server Error", "502 Bad Gateway", "504 Gateway Timeout", "529 Overloaded")
    ),
    Case(
        name="500-once",
        fault="500, then well",
        small=each(_status("500 Internal Server Error"), good()),
        expect=ONCE_MORE,
    ),
    Case(
        name="503-retry-after",
        fault="503, `Retry-After: 1`, for good",
        small=_status("503 Service Unavailable", "retry-after: 1\r\n"),
        deadlines=PATIENT,
        expect=_fallback("http_5xx").but(gap_s=(1.0, 1.0 + SLACK_S), within_s=(1.0, 1.0 + SLACK_S)),
    ),
    Case(
        name="500-everywhere",
        fault="500 from both: there is nobody left",
        small=_status("500 Internal Server Error"),
        big=_status("500 Internal Server Error"),
        expect=Expect(
            text=None,
            status=500,
            why="fallback:http_5xx",
            small=2,
            big=2,
            within_s=(0.1, 1.5),
            body=b'{"error":{"message":"The provider says 500 Internal Server Error.","type":"server_error",'
            b'"param":null,"code":null}}',
            outcome="upstream_error",
        ),
    ),
    Case(
        name="401",
        fault="401: the gateway's own key is refused",
        small=_status("401 Unauthorized", kind="invalid_request_error", code="invalid_api_key"),
        expect=Expect(why="fallback:http_401"),
    ),
)
