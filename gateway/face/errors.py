"""Every error the gateway itself can give, in one table, in OpenAI's shape.

An upstream's own errors are not here: they keep their status and body.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """`code` is what programs match on and the label of `understudy_refused_total`; `type` is OpenAI's class of it."""

    status: int
    type: str
    code: str


_INVALID = "invalid_request_error"
INVALID_JSON = ErrorKind(400, _INVALID, "invalid_json")
INVALID_TYPE = ErrorKind(400, _INVALID, "invalid_type")
MISSING_MODEL = ErrorKind(400, _INVALID, "missing_required_parameter")
INVALID_HTTP = ErrorKind(400, _INVALID, "invalid_http_request")
MISSING_KEY = ErrorKind(401, _INVALID, "missing_api_key")
WRONG_KEY = ErrorKind(401, _INVALID, "invalid_api_key")
FORBIDDEN = ErrorKind(403, "permission_error", "admin_key_required")
UNKNOWN_MODEL = ErrorKind(404, _INVALID, "model_not_found")
UNKNOWN_ROUTE = ErrorKind(404, _INVALID, "route_not_found")
NO_ROLLOUT = ErrorKind(404, _INVALID, "rollout_not_found")
UNKNOWN_UPSTREAM = ErrorKind(404, _INVALID, "upstream_not_found")
UNKNOWN_KEY = ErrorKind(404, _INVALID, "key_not_found")
UNKNOWN_VERSION = ErrorKind(404, _INVALID, "version_not_found")
UNKNOWN_PATH = ErrorKind(404, _INVALID, "unknown_url")
METHOD_NOT_ALLOWED = ErrorKind(405, _INVALID, "method_not_allowed")
TOO_DEEP = ErrorKind(400, _INVALID, "json_too_deep")
TOO_MANY_MESSAGES = ErrorKind(400, _INVALID, "too_many_messages")
TOO_SLOW = ErrorKind(408, _INVALID, "request_timeout")
TOO_LARGE = ErrorKind(413, _INVALID, "request_too_large")
UNSUPPORTED_ENCODING = ErrorKind(415, _INVALID, "unsupported_content_encoding")
TARGET_TOO_LONG = ErrorKind(414, _INVALID, "request_target_too_long")
TOO_MANY = ErrorKind(429, "rate_limit_error", "too_many_requests")
REQUESTS_PER_MINUTE_EXCEEDED = ErrorKind(429, "rate_limit_error", "requests_per_minute_exceeded")
TOKENS_PER_MINUTE_EXCEEDED = ErrorKind(429, "rate_limit_error", "tokens_per_minute_exceeded")
CONCURRENCY_EXCEEDED = ErrorKind(429, "rate_limit_error", "concurrency_exceeded")
INTERNAL = ErrorKind(500, "server_error", "internal_error")
HEAD_TOO_LARGE = ErrorKind(431, _INVALID, "request_header_fields_too_large")
UNSUPPORTED_ENDPOINT = ErrorKind(404, _INVALID, "unsupported_endpoint")
UPSTREAM_UNREACHABLE = ErrorKind(502, "server_error", "upstream_unreachable")
UPSTREAM_BROKE_OFF = ErrorKind(502, "server_error", "upstream_broke_off")
UPSTREAM_INVALID = ErrorKind(502, "server_error", "upstream_invalid_response")
UPSTREAM_TIMEOUT = ErrorKind(504, "server_error", "upstream_timeout")
UPSTREAM_BUSY = ErrorKind(503, "server_error", "upstream_busy")
UPSTREAM_UNAVAILABLE = ErrorKind(503, "server_error", "upstream_unavailable")
RISK_TEACHER_DOWN = ErrorKind(503, "server_error", "teacher_down")
TOO_MANY_CONNECTIONS = ErrorKind(503, "server_error", "too_many_connections")
SHUTTING_DOWN = ErrorKind(503, "server_error", "shutting_down")
STORE_UNAVAILABLE = ErrorKind(503, "server_error", "store_unavailable")
STORE_OUTCOME_UNKNOWN = ErrorKind(503, "server_error", "store_outcome_unknown")
ROLLOUT_REFUSED = ErrorKind(409, _INVALID, "rollout_refused")
VERSION_CONFLICT = ErrorKind(412, _INVALID, "version_conflict")
PRECONDITION_REQUIRED = ErrorKind(428, _INVALID, "precondition_required")
INVALID_PARAMETER = ErrorKind(422, _INVALID, "invalid_parameter")
INVALID_CHANGE = ErrorKind(422, _INVALID, "invalid_change")
STEP_TOO_LARGE = ErrorKind(422, _INVALID, "step_too_large")


class ApiError(Exception):
    """An error on its way to a client: what was expected, what came, what to do, in `message`.

    `retry_after_s`: when the same request may pass, in whole seconds, for the header `Retry-After`. `beside`: what the
    body holds beside the error.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        param: str | None = None,
        *,
        retry_after_s: int | None = None,
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.beside = beside or {}

    @property
    def body(self) -> bytes:
        kind = self.kind
        error = {"message": self.message, "type": kind.type, "param": self.param, "code": kind.code}
        return _encode({"error": error, **self.beside})
