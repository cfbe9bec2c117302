"""vLLM's OpenAI-compatible server, as documented at docs.vllm.ai: one of the operator's own machines."""

from proxy.providers.rows import COMMON_FORWARDED, COMMON_RETURNED, Provider, forward

VLLM = Provider(
    name="vllm",
    # There is no such place as vLLM: each provider setting names its own server.
    base_url_setting="",
    # It runs without a key unless it was started with `--api-key`.
    auth_scheme="bearer_if_any",
    required_params=("url",),
    secret_params=("apikey",),
    output_cap="max_completion_tokens",
    # It names its answer after this, with `--enable-request-id-headers` (contract §4.6 forwards it).
    forwarded=COMMON_FORWARDED + forward("x-request-id"),
    returned=COMMON_RETURNED,
)
