"""What is remembered of an upstream object, and what it is called in Redis.

An object is looked up under the asking account alone: there is no name that leads to another account's object.
"""

import re
from typing import NamedTuple

KEPT_SECONDS = 32 * 86_400
"""OpenAI keeps a response for 30 days (developers.openai.com/api/docs/guides/conversation-state)."""

_OBJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


class ObjectName(NamedTuple):
    """An object of an account at a provider."""

    account_id: str
    provider: str
    object_id: str

    @property
    def key(self) -> str:
        """In Redis: its value is the id of the setting that the object was made with."""
        return f"weir:{{{self.account_id}}}:object:{self.provider}:{self.object_id}"


def is_object_id(text: str) -> bool:
    """An id as a provider makes them. What a caller sends instead names nothing."""
    return _OBJECT_ID.fullmatch(text) is not None
