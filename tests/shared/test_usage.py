"""Token classes: disjoint, each on one side."""

import msgspec

from shared.events import Event
from shared.usage import COMPLETION_CLASSES, NO_USAGE, PROMPT_CLASSES, TOKEN_CLASSES, TokenUsage


def test_every_class_is_on_exactly_one_side() -> None:
    assert (*PROMPT_CLASSES, *COMPLETION_CLASSES) == TOKEN_CLASSES


def test_the_sides_sum_up_their_classes() -> None:
    for number, name in enumerate(TOKEN_CLASSES, 1):
        usage = TokenUsage(**{name: number})

        assert usage.prompt_tokens == (number if name in PROMPT_CLASSES else 0)
        assert usage.completion_tokens == (number if name in COMPLETION_CLASSES else 0)


def test_no_usage_is_all_zero_and_equal_to_a_fresh_one() -> None:
    assert TokenUsage() == NO_USAGE
    assert set(msgspec.structs.asdict(NO_USAGE).values()) == {0}


def test_an_event_has_a_column_for_every_class() -> None:
    assert {f"{name}_tokens" for name in TOKEN_CLASSES} <= set(Event.__struct_fields__)
