"""Anthropic, as documented at platform.claude.com/docs/en/api."""

from proxy.providers.rows import COMMON_FORWARDED, COMMON_RETURNED, SDK_FORWARDED, Provider, forward

ANTHROPIC = Provider(
    name="anthropic",
    base_url_setting="WEIR_UPSTREAM_ANTHROPIC_URL",
    auth_scheme="x_api_key",
    required_params=("apikey",),
    secret_params=("apikey",),
    output_cap="max_tokens",
    forwarded=COMMON_FORWARDED
    + SDK_FORWARDED
    + forward(
        "anthropic-version",
        # Switches on what is not in the version yet; a body that uses it is checked as any other.
        "anthropic-beta",
        # The SDK's helpers and its command line tool name themselves in these.
        "x-app",
        "x-stainless-helper",
        "x-stainless-stream-helper",
    ),
    # Not `anthropic-workspace-id` and `anthropic-user-profile-id`, which choose whom the operator's credential acts
    # for, and so whose limits hold and who pays.
    # Upstream refuses a request without a version; this is the only one there is, and the SDKs send it.
    default_headers=(("anthropic-version", "2023-06-01"),),
    # Not `anthropic-organization-id` and `anthropic-workspace-id`: the operator's account. `request-id` is
    # Anthropic's own spelling, which its SDK reads.
    returned=(*COMMON_RETURNED, "request-id"),
)
