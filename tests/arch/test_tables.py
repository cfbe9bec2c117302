"""Every table is whole: each member of a union, each kind, each row has what its readers look up."""

import re
from typing import get_args

import pytest

from proxy import endpoints
from proxy.adapters.log_observer import LOG_LINES
from proxy.adapters.metrics_observer import MetricsObserver
from proxy.core.headers import EXPOSED
from proxy.core.rate_headers import rate_headers
from proxy.endpoints import ENDPOINTS, Endpoint
from proxy.observations import Observation
from proxy.providers import AUTH_SCHEMES, PROVIDERS
from proxy.wire import FORMATS
from proxy.wire.errors import render_error
from shared.errors import ERROR_KINDS


def test_every_observation_is_read_by_logs_and_metrics() -> None:
    """Nothing worth telling is told to nobody."""
    members = set(get_args(Observation))
    assert set(LOG_LINES) == members
    assert MetricsObserver(frozenset()).covered == members


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.template}")
def test_an_endpoint_row_is_complete(endpoint: Endpoint) -> None:
    """A row names a provider, a format and a path that exist, and is found by its own path."""
    assert endpoint.provider in PROVIDERS
    assert endpoint.format in FORMATS
    assert PROVIDERS[endpoint.provider].auth_scheme in AUTH_SCHEMES
    assert endpoint.upstream_path.startswith("/v1/")
    path = re.sub(":[a-z_]+", "a-name_1.2:x", endpoint.template)
    match = endpoints.match(endpoint.method, path)
    assert match is not None
    assert match.endpoint is endpoint
    assert match.upstream_path == re.sub(":[a-z_]+", "a-name_1.2:x", endpoint.upstream_path)
    assert match.object_id == ("a-name_1.2:x" if endpoint.object_parameter else "")
    assert endpoints.dialect_of(endpoint.template) == endpoint.dialect


@pytest.mark.parametrize(
    "path",
    ["/", "", "/api/providers", "/api/providers/openai/v1/chat/completions/", "/api/providers/openai/v1/../v1/models",
     "/api/providers/openai/v1/models/..", "/api/providers/openai/v1/models/.", "/api/providers/openai/v1/models/",
     "/api/providers/openai/v1/models/a b", "/api/providers/openai/v1/models/a/b",
     "/api/providers/openai/v1/models/a?b",
     "/api/providers/openai/v1/models/" + "x" * 257, "/api/providers/openai/v1/responses/a%2Fb",
     "/api/providers/openai/v1/responses/../x/cancel", "/api/providers/openai/v1/responses/é",
     "/api/providers/vllm/v1/models/x", "/api/providers/anthropic/v1/chat/completions",
     "//api/providers/openai/v1/models", "/api/providers/openai/v1/models?x", "/API/providers/openai/v1/models"],
)  # fmt: skip
def test_a_path_that_is_not_a_row_is_no_endpoint(path: str) -> None:
    """No spelling of a path reaches an endpoint but its own."""
    assert endpoints.match("GET", path) is None
    assert endpoints.match("POST", path) is None


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_every_kind_of_error_renders_with_its_status(kind: str) -> None:
    """One table decides the status, in every dialect."""
    for dialect in {row.dialect for row in ENDPOINTS} | {endpoints.DEFAULT_DIALECT}:
        status, _, body = render_error(dialect, kind, "told", "id")
        assert status == ERROR_KINDS[kind].status
        assert b"[Weir] told" in body


def test_the_rate_headers_are_exposed_to_browsers() -> None:
    """A header that CORS hides is not sent at all, for a browser."""
    from proxy.core.limits import RateState

    names = {name for row in ENDPOINTS for name, _ in rate_headers(RateState(2, 1, 60, 1, "m"), row.dialect)}
    assert names <= {name.strip() for name in EXPOSED.split(b",")}
