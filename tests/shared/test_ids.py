"""UUIDv7 by the letter of RFC 9562, in both forms."""

import os
import time
import uuid
from collections.abc import Callable

import pytest

from shared.ids import uuid7, uuid7_text

MAKERS = [uuid7, lambda: uuid.UUID(uuid7_text())]


@pytest.mark.parametrize("make", MAKERS)
def test_an_id_has_version_7_and_the_rfcs_variant(make: Callable[[], uuid.UUID]) -> None:
    for _ in range(200):
        made = make()

        assert made.version == 7
        assert made.variant == uuid.RFC_4122


@pytest.mark.parametrize("make", MAKERS)
def test_an_id_carries_the_millisecond_it_was_made_in(make: Callable[[], uuid.UUID]) -> None:
    before = time.time_ns() // 1_000_000
    made = make().int >> 80

    assert before <= made <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("make", MAKERS)
def test_ids_sort_by_the_millisecond(make: Callable[[], uuid.UUID]) -> None:
    first = make()
    time.sleep(0.002)

    assert str(first) < str(make())


@pytest.mark.parametrize("make", MAKERS)
def test_no_two_ids_are_equal_and_all_74_random_bits_move_freely(make: Callable[[], uuid.UUID]) -> None:
    made = [make().int for _ in range(4000)]
    fixed = {*range(62, 64), *range(76, 80), *range(80, 128)}
    free = [bit for bit in range(128) if bit not in fixed]
    ones = {bit: sum(number >> bit & 1 for number in made) for bit in free}

    assert len(set(made)) == 4000
    assert len(free) == 74
    assert all(1700 < count < 2300 for count in ones.values())
    # No bit repeats another: each pair of neighbours and each pair with the variant's last bits differs often.
    for one in (60, 61):
        for other in free:
            if other != one:
                differ = sum((number >> one ^ number >> other) & 1 for number in made)
                assert 1700 < differ < 2300, (one, other)


def test_the_text_is_the_canonical_form() -> None:
    text = uuid7_text()

    assert text == str(uuid.UUID(text)) == text.lower()
    assert len(text) == 36


def test_a_forked_process_makes_ids_of_its_own() -> None:
    """Random bytes are drawn in advance; a child must not draw its parent's."""
    uuid7_text()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, "\n".join(uuid7_text()[15:] for _ in range(50)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as pipe:
        theirs = set(pipe.read().split())
    assert len(theirs) == 50
    assert theirs.isdisjoint({uuid7_text()[15:] for _ in range(1000)})
