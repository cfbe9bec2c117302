"""OpenAI, as documented at developers.openai.com/api/reference."""

from proxy.providers.rows import COMMON_FORWARDED, COMMON_RETURNED, SDK_FORWARDED, Provider, forward

OPENAI = Provider(
    name="openai",
    base_url_setting="WEIR_UPSTREAM_OPENAI_URL",
    auth_scheme="bearer",
    required_params=("apikey",),
    secret_params=("apikey",),
    # `max_tokens` is its deprecated name, which reasoning models refuse.
    output_cap="max_completion_tokens",
    forwarded=COMMON_FORWARDED
    + SDK_FORWARDED
    + forward(
        "openai-beta",
        # These choose among what the operator's credential may use; the contract forwards them (§4.6).
        "openai-organization",
        "openai-project",
        "x-client-request-id",
    ),
    steering=frozenset({b"openai-organization", b"openai-project"}),
    # Not `openai-organization` and `openai-project`: the names of the operator's account.
    returned=(*COMMON_RETURNED, "openai-processing-ms", "openai-version"),
)
