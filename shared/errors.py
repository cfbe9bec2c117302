"""Our own no, and upstream's failures: one table says what each kind answers.

Three worlds of errors (design §4): `Refusal` is ours, on purpose; `UpstreamFailure` is theirs; anything else is a
bug: 500, no detail to the caller, a stack trace in the log. Wire formats render a kind; nobody else picks a status.
"""

import msgspec


class ErrorKind(msgspec.Struct, frozen=True):
    """How a kind is answered, in every dialect."""

    status: int
    openai_type: str
    anthropic_type: str


ERROR_KINDS: dict[str, ErrorKind] = {
    # Refusals, in the order of the request's path.
    "bad_request": ErrorKind(400, "invalid_request_error", "invalid_request_error"),
    "query_invalid": ErrorKind(400, "invalid_request_error", "invalid_request_error"),
    "invalid_timeout": ErrorKind(400, "invalid_request_error", "invalid_request_error"),
    "headers_too_large": ErrorKind(431, "invalid_request_error", "invalid_request_error"),
    "not_found": ErrorKind(404, "invalid_request_error", "not_found_error"),
    "method_not_allowed": ErrorKind(404, "invalid_request_error", "not_found_error"),
    "loop_detected": ErrorKind(508, "invalid_request_error", "api_error"),
    "key_missing": ErrorKind(401, "authentication_error", "authentication_error"),
    "key_unknown": ErrorKind(401, "authentication_error", "authentication_error"),
    "key_revoked": ErrorKind(401, "authentication_error", "authentication_error"),
    "key_expired": ErrorKind(401, "authentication_error", "authentication_error"),
    "key_closed": ErrorKind(401, "authentication_error", "authentication_error"),
    "key_exhausted": ErrorKind(401, "insufficient_quota", "authentication_error"),
    "setting_missing": ErrorKind(401, "authentication_error", "authentication_error"),
    "setting_unusable": ErrorKind(500, "server_error", "api_error"),
    "path_forbidden": ErrorKind(403, "permission_error", "permission_error"),
    "object_unknown": ErrorKind(404, "invalid_request_error", "not_found_error"),
    "body_too_large": ErrorKind(413, "invalid_request_error", "request_too_large"),
    "body_timeout": ErrorKind(408, "invalid_request_error", "invalid_request_error"),
    "encoding_unsupported": ErrorKind(415, "invalid_request_error", "invalid_request_error"),
    "body_invalid": ErrorKind(400, "invalid_request_error", "invalid_request_error"),
    "model_forbidden": ErrorKind(403, "permission_error", "permission_error"),
    "model_unpriced": ErrorKind(400, "invalid_request_error", "invalid_request_error"),
    "rate_limited": ErrorKind(429, "rate_limit_error", "rate_limit_error"),
    "cost_limited": ErrorKind(429, "insufficient_quota", "rate_limit_error"),
    "cost_held": ErrorKind(429, "rate_limit_error", "rate_limit_error"),
    "limiter_unavailable": ErrorKind(503, "server_error", "overloaded_error"),
    "journal_unavailable": ErrorKind(503, "server_error", "overloaded_error"),
    "snapshot_unavailable": ErrorKind(503, "server_error", "overloaded_error"),
    # Failures of an attempt.
    "upstream_forbidden": ErrorKind(502, "server_error", "api_error"),
    "upstream_unreachable": ErrorKind(502, "server_error", "api_error"),
    "upstream_timeout": ErrorKind(504, "server_error", "timeout_error"),
    "upstream_invalid": ErrorKind(502, "server_error", "api_error"),
    "upstream_cut": ErrorKind(502, "server_error", "api_error"),
    # A bug.
    "internal": ErrorKind(500, "server_error", "api_error"),
}


class Refusal(Exception):  # noqa: N818 - a decision, not a fault
    """Weir says no. `message` is for the caller (without the `[Weir] ` prefix) and must hold nothing secret."""

    def __init__(self, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.message = message
        self.retry_after = retry_after
        """Seconds until trying again makes sense; None: it does not."""


class UpstreamFailure(Exception):  # noqa: N818 - theirs, not ours
    """Upstream did not answer, or not in HTTP. `message` is safe for the caller."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.message = message
