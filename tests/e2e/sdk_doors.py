"""Where an SDK is pointed: straight at the scripted upstream, or at Weir in front of it.

Every SDK test runs through both doors. The first shows that the scripted upstream speaks the provider's dialect as its
own SDK reads it; the second, that nothing of it is lost on the way.
"""

from typing import NamedTuple

from tests.e2e.stack import Stack
from tests.fakes.upstream import FakeUpstream

DOORS = ("direct", "weir")
UNKNOWN_KEY = "sk-nobody-knows-this-one"


class Door(NamedTuple):
    """What an application is configured with."""

    name: str
    openai_url: str
    anthropic_url: str
    key: str

    @property
    def is_direct(self) -> bool:
        return self.name == "direct"


def direct_door(upstream: FakeUpstream) -> Door:
    """Straight at upstream."""
    return Door("direct", f"{upstream.url}/v1", upstream.url, "sk-direct")


async def weir_door(stack: Stack, **limits: object) -> Door:
    """Through Weir, with one gateway key for all providers."""
    settings = [await stack.create_setting(provider=provider) for provider in ("openai", "anthropic")]
    made = await stack.create_key("", settingId=None, settingIds=settings, **limits)
    return Door("weir", stack.openai_url, f"{stack.proxy_url}/api/providers/anthropic", made["key"])


async def door_of(name: str, stack: Stack, upstream: FakeUpstream) -> Door:
    """The door of that name."""
    return direct_door(upstream) if name == "direct" else await weir_door(stack)
