"""Every kind of error renders in every dialect."""

import msgspec
import pytest

from proxy.wire.errors import DIALECTS, Dialect, render_error, render_error_body
from shared.errors import ERROR_KINDS

MESSAGE = 'nothing "works" – é'


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_openai_errors_have_the_shape_that_its_sdk_reads(kind: str) -> None:
    status, headers, body = render_error("openai_api", kind, MESSAGE, "0192")

    assert status == ERROR_KINDS[kind].status
    assert headers == ((b"content-type", b"application/json; charset=utf-8"),)
    assert msgspec.json.decode(body) == {
        "error": {
            "message": f"[Weir] {MESSAGE}",
            "type": ERROR_KINDS[kind].openai_type,
            "param": None,
            "code": str(status),
        }
    }


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_anthropic_errors_have_the_shape_that_its_sdk_reads(kind: str) -> None:
    status, headers, body = render_error("anthropic_api", kind, MESSAGE, "0192")

    assert status == ERROR_KINDS[kind].status
    assert headers == ((b"content-type", b"application/json; charset=utf-8"),)
    assert msgspec.json.decode(body) == {
        "type": "error",
        "error": {"type": ERROR_KINDS[kind].anthropic_type, "message": f"[Weir] {MESSAGE}"},
        "request_id": "0192",
    }


def test_an_error_that_follows_an_answers_head_has_no_request_id_of_its_own() -> None:
    assert msgspec.json.decode(render_error_body("anthropic_api", "upstream_cut", MESSAGE)) == {
        "type": "error",
        "error": {"type": "api_error", "message": f"[Weir] {MESSAGE}"},
    }


def test_every_dialect_has_a_test() -> None:
    assert set(DIALECTS) == set(Dialect.__args__) == {"openai_api", "anthropic_api"}
