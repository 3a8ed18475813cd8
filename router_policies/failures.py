"""What went wrong with one call to an upstream, as far as it decides what is tried next.

Providers say the same thing in many ways. Here each way is given its name once, and everything after speaks of kinds:
who may retry, who may fall back, whom the breaker blames.
"""

import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum

import msgspec


class FailureKind(StrEnum):
    """`CONNECT`: no connection, or it died before an answer began. `TIMEOUT`: a deadline passed. `HTTP_429`,
    `HTTP_5XX`: the status, or an error of that kind inside a stream. `HTTP_401`: the gateway's own key was refused.
    `INVALID_STREAM`: cut, malformed, or no answer at all. `CONTEXT_LENGTH`: too long for this model. `CONTENT_FILTER`:
    the provider will not answer this. `CLIENT_ERROR`: any other 4xx: the request is at fault. `BUSY`: its concurrency
    and queue are full. `BREAKER`: its breaker is open. `VERIFY`: the whole answer failed its check. `MISMATCH`: asked
    anew, it answered differently from what the client has."""

    CONNECT = "connect"
    TIMEOUT = "timeout"
    HTTP_429 = "http_429"
    HTTP_5XX = "http_5xx"
    HTTP_401 = "http_401"
    INVALID_STREAM = "invalid_stream"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    CLIENT_ERROR = "client_error"
    BUSY = "busy"
    BREAKER = "breaker"
    VERIFY = "verify"
    MISMATCH = "mismatch"


BLAMED = frozenset(
    {FailureKind.CONNECT, FailureKind.TIMEOUT, FailureKind.HTTP_5XX, FailureKind.INVALID_STREAM}
)  # what an upstream's breaker counts: neither what a client did nor a rate limit is a sign of illness
NOT_ASKED = frozenset({FailureKind.BUSY, FailureKind.BREAKER})
DECISIVE = frozenset({FailureKind.CLIENT_ERROR, FailureKind.CONTENT_FILTER})  # another upstream is not asked the same


@dataclass(frozen=True, slots=True)
class Failure:
    """`retry_after_s`: how long the upstream asked to be left alone, None if it did not say. `hopeless`: trying the
    same upstream again cannot help (a spent quota)."""

    kind: FailureKind
    retry_after_s: float | None = None
    hopeless: bool = False


class _Body(msgspec.Struct, frozen=True):
    """OpenAI's shape, and vLLM's older one without the wrapping."""

    error: object = None
    message: object = None
    type: object = None
    code: object = None


_decode = msgspec.json.Decoder(_Body).decode
_CONTEXT = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum (?:context|model|input|prompt) length"
    r"|context (?:length|window|size)|prompt is too long|too many (?:input )?tokens|input is too long"
    r"|max_model_len|longer than the maximum|maximum allowed (?:number of )?(?:input )?tokens",
    re.IGNORECASE,
)
_FILTER = re.compile(
    r"content_filter|content_policy|contentfilter|responsibleaipolicyviolation|content management policy"
    r"|content policy|usage polic|safety (?:system|filter)|moderation_blocked|flagged",
    re.IGNORECASE,
)
_SPENT = re.compile(r"insufficient_quota|billing_hard_limit|credit balance|quota_exceeded|payment", re.IGNORECASE)
_LONGEST_READ = 64 * 1024  # bytes of an error body; what is longer is a page for people


def of_answer(status: int, body: bytes, retry_after_s: float | None = None) -> Failure:
    """The failure in an answer with a `status` other than 2xx."""
    return _of(status, _words(body), retry_after_s)


def of_event(error: object) -> Failure:
    """The failure in an error that came inside a stream with status 200: by its code if that is a status."""
    return _of(_status(error), _text(error), None)


def _of(status: int, words: str, retry_after_s: float | None) -> Failure:
    if status == 429:
        return Failure(FailureKind.HTTP_429, retry_after_s, hopeless=_SPENT.search(words) is not None)
    if status == 401:
        return Failure(FailureKind.HTTP_401)
    if 400 <= status < 500 and status != 408:
        if _FILTER.search(words):
            return Failure(FailureKind.CONTENT_FILTER)
        if _CONTEXT.search(words):
            return Failure(FailureKind.CONTEXT_LENGTH)
        return Failure(FailureKind.CLIENT_ERROR)
    if status == 408 or status >= 500:
        return Failure(FailureKind.HTTP_5XX, retry_after_s)
    return Failure(FailureKind.INVALID_STREAM)


def _status(error: object) -> int:
    """The status an in-band error stands for: told by its code, or by its type; what names none is the server's."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:
        code = int(code)
    if isinstance(code, int) and 400 <= code < 600:
        return code
    words = _text(error)
    if "rate_limit" in words or "insufficient_quota" in words:
        return 429
    if "invalid_request" in words or "BadRequest" in words or _FILTER.search(words) or _CONTEXT.search(words):
        return 400
    return 500


def in_stream_status(error: object) -> int:
    """The HTTP status that an error inside a stream would have had without streaming; 502 if it tells none."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600 else 502


def _words(body: bytes) -> str:
    if len(body) > _LONGEST_READ:
        return ""
    try:
        decoded = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return _text(decoded.error if decoded.error is not None else msgspec.structs.asdict(decoded))


def _text(error: object) -> str:
    if isinstance(error, dict):
        return " ".join(str(error[key]) for key in ("message", "type", "code", "innererror") if error.get(key))
    return error if isinstance(error, str) else ""


_LONGEST_S = 86_400.0


def read_retry_after(value: bytes, wall_s: float) -> float | None:
    """A `Retry-After` in seconds from now: a number, or a date (RFC 9110 section 10.2.3) seen from the Unix time
    `wall_s`. None for what is neither; from 0 to a day."""
    text = value.decode("latin-1").strip()
    try:
        seconds = float(text) if text.replace(".", "", 1).isdecimal() else _until(text, wall_s)
        return min(max(0.0, seconds), _LONGEST_S)
    except (ValueError, TypeError, OverflowError):
        return None


def _until(date: str, wall_s: float) -> float:
    at = parsedate_to_datetime(date)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - wall_s
