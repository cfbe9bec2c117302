"""Providers: one row each, the only place outside prices and tests where their names stand."""

from proxy.providers.anthropic import ANTHROPIC
from proxy.providers.auth import AUTH_SCHEMES
from proxy.providers.openai import OPENAI
from proxy.providers.rows import FailureKind, Provider, classify, upstream_url
from proxy.providers.vllm import VLLM

__all__ = ["AUTH_SCHEMES", "PROVIDERS", "FailureKind", "Provider", "classify", "upstream_url"]

PROVIDERS: dict[str, Provider] = {row.name: row for row in (OPENAI, ANTHROPIC, VLLM)}
