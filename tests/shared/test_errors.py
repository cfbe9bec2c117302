"""Kinds of errors: one table, every kind answerable in every dialect."""

import pytest

from shared.errors import ERROR_KINDS, ErrorKind, Refusal, UpstreamFailure

OPENAI_TYPES = {
    "invalid_request_error", "authentication_error", "permission_error", "rate_limit_error",
    "insufficient_quota", "server_error",
}  # fmt: skip
ANTHROPIC_TYPES = {
    "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "request_too_large",
    "rate_limit_error", "api_error", "timeout_error", "overloaded_error", "billing_error",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "row"), ERROR_KINDS.items(), ids=list(ERROR_KINDS))
def test_a_kind_has_an_error_status_and_a_type_that_the_sdks_know(kind: str, row: ErrorKind) -> None:
    assert kind.replace("_", "").isalpha()
    assert 400 <= row.status < 600
    assert row.openai_type in OPENAI_TYPES
    assert row.anthropic_type in ANTHROPIC_TYPES


@pytest.mark.parametrize(
    ("prefix", "statuses"),
    [("key_", {401}), ("upstream_", {502, 504}), ("internal", {500}), ("cost_", {429}), ("rate_", {429})],
)
def test_kinds_of_a_family_answer_the_designs_status(prefix: str, statuses: set[int]) -> None:
    assert {row.status for kind, row in ERROR_KINDS.items() if kind.startswith(prefix)} == statuses


def test_our_no_and_upstreams_failure_are_different_worlds() -> None:
    refusal, failure = (
        Refusal("rate_limited", "too many", retry_after=1.5),
        UpstreamFailure("upstream_cut", "broke off"),
    )

    assert not isinstance(refusal, UpstreamFailure)
    assert not isinstance(failure, Refusal)
    assert (refusal.kind, refusal.message, refusal.retry_after) == ("rate_limited", "too many", 1.5)
    assert Refusal("key_unknown", "no").retry_after is None
    assert (failure.kind, failure.message) == ("upstream_cut", "broke off")
