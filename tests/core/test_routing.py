"""Which setting is tried first, which last, and when that changes."""

from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.routing import (
    MOST_SLEEPERS,
    PROBE_SECONDS,
    Rests,
    SettingChange,
    SettingPutAside,
    SettingRecovered,
    SettingRested,
    moves_on,
)
from proxy.core.snapshot import CompiledSetting
from proxy.core.upstream_refusals import ASIDE_SECONDS, DEFAULT_SECONDS, QUOTA_SECONDS

NOW = 1_795_262_400_000
MODEL, OTHER = "model-a", "model-b"
QUOTA_BODY = b'{"error":{"code":"insufficient_quota"}}'


def setting(name: str, apikey: str = "k") -> CompiledSetting:
    return CompiledSetting(
        id=name, account_id="default", provider="p", base_url=None, credential={"apikey": apikey},
        allowed_models=frozenset(), cost_map=None, unpriced=None, is_usable=True,
    )  # fmt: skip


A, B, C = (setting(name) for name in "ABC")
ABC = (A, B, C)


class Desk:
    """Rests and a clock."""

    def __init__(self, seed: int = 1) -> None:
        self.rests = Rests(Random(seed).shuffle)
        self.now_ms = NOW

    def order(self, settings: tuple[CompiledSetting, ...] = ABC, model: str = MODEL, is_rotated: bool = False) -> str:
        return "".join(s.id for s in self.rests.plan(settings, model, is_rotated, self.now_ms))

    def note(
        self, which: CompiledSetting, status: int, model: str = MODEL, body: bytes = b"", **more: Any
    ) -> SettingChange | None:
        headers = more.pop("headers", {})
        return self.rests.note(which, model, status, headers, body, self.now_ms, **more)

    def later(self, seconds: float) -> "Desk":
        self.now_ms += int(seconds * 1000)
        return self


def test_without_rotation_the_operator_decides() -> None:
    assert {Desk(seed).order() for seed in range(20)} == {"ABC"}


def test_with_rotation_each_is_first_as_often() -> None:
    """All of it at random, so that what a resting one leaves is spread evenly too."""
    desk = Desk()
    firsts = Counter(desk.order(is_rotated=True)[0] for _ in range(6_000))
    assert all(1_800 < firsts[name] < 2_200 for name in "ABC")
    desk.note(A, 429, headers={"retry-after": "60"})
    orders = Counter(desk.order(is_rotated=True) for _ in range(6_000))
    assert set(orders) == {"BCA", "CBA"}
    assert all(2_800 < count < 3_200 for count in orders.values())


@pytest.mark.parametrize(
    ("status", "body", "here", "elsewhere", "seconds", "change"),
    [
        (401, b"", "BCA", "BCA", ASIDE_SECONDS, SettingPutAside("A", "p", "", 401, ASIDE_SECONDS)),
        (403, b"", "BCA", "ABC", ASIDE_SECONDS, SettingPutAside("A", "p", MODEL, 403, ASIDE_SECONDS)),
        (429, b"", "BCA", "ABC", DEFAULT_SECONDS, SettingRested("A", "p", MODEL, 429, DEFAULT_SECONDS)),
        (429, QUOTA_BODY, "BCA", "BCA", QUOTA_SECONDS, SettingRested("A", "p", "", 429, QUOTA_SECONDS)),
        (402, b"", "BCA", "BCA", QUOTA_SECONDS, SettingRested("A", "p", "", 402, QUOTA_SECONDS)),
        (400, b"", "ABC", "ABC", 0, None),
        (404, b"", "ABC", "ABC", 0, None),
        (500, b"", "ABC", "ABC", 0, None),
        (503, b"", "ABC", "ABC", 0, None),
        (200, b"", "ABC", "ABC", 0, None),
    ],
)
def test_who_refused_comes_last_for_a_while(
    status: int, body: bytes, here: str, elsewhere: str, seconds: float, change: SettingChange | None
) -> None:
    """For the model it was asked for, or for all of them; told once."""
    desk = Desk()
    assert desk.note(A, status, body=body) == change
    assert desk.note(A, status, body=body) is None
    assert (desk.order(), desk.order(model=OTHER)) == (here, elsewhere)
    if seconds:
        assert desk.later(seconds - 0.001).order() == here
        assert desk.later(0.001).order() == "ABC"


def test_a_key_with_one_setting_is_served_as_if_nothing_were_known() -> None:
    desk = Desk()
    for status in (401, 403, 429, 402):
        desk.note(A, status)
        assert desk.order((A,)) == "A"


def test_when_all_rest_the_one_that_wakes_first_is_tried() -> None:
    desk = Desk()
    for which, wait in ((A, "50"), (B, "20"), (C, "90")):
        desk.note(which, 429, headers={"retry-after": wait})
    assert desk.order() == "BAC"
    assert desk.later(20).order() == "BAC"
    assert desk.later(30).order() == "ABC"


def test_a_later_shorter_wait_does_not_end_a_longer_one() -> None:
    desk = Desk()
    desk.note(A, 429, headers={"retry-after": "60"})
    desk.later(1).note(A, 429, headers={"retry-after": "2"})
    assert desk.later(30).order() == "BCA"
    assert desk.later(29).order() == "ABC"


def test_one_call_tries_a_credential_that_was_put_aside() -> None:
    """The others stay with the next setting until it has answered, or has said nothing for too long."""
    desk = Desk()
    desk.note(A, 401)
    desk.later(ASIDE_SECONDS)
    assert [desk.order() for _ in range(3)] == ["ABC", "BCA", "BCA"]
    assert desk.later(PROBE_SECONDS).order() == "ABC"
    assert desk.note(A, 401) is None, "still the same trouble"
    assert desk.later(ASIDE_SECONDS - 1).order() == "BCA"
    assert desk.later(1).order() == "ABC"
    assert desk.note(A, 200) == SettingRecovered("A", "p", "")
    assert [desk.order() for _ in range(3)] == ["ABC"] * 3
    assert desk.note(A, 200) is None
    assert len(desk.rests) == 0


def test_only_the_first_of_a_plan_is_on_trial() -> None:
    """One that is further back was not tried, so its trial waits."""
    desk = Desk()
    desk.note(B, 401)
    desk.later(ASIDE_SECONDS)
    assert [desk.order() for _ in range(2)] == ["ABC", "ABC"]
    assert desk.order((B, C)) == "BC"
    assert desk.order((B, C)) == "CB"


def test_a_success_of_another_model_clears_the_credential_only() -> None:
    desk = Desk()
    desk.note(A, 403)
    desk.note(A, 429, model=OTHER, headers={"retry-after": "60"})
    assert desk.note(A, 200, model="model-c") is None
    assert (desk.order(), desk.order(model=OTHER)) == ("BCA", "BCA")
    assert desk.note(A, 200) == SettingRecovered("A", "p", MODEL)
    assert desk.note(A, 200, model=OTHER) is None
    assert (desk.order(), desk.order(model=OTHER)) == ("ABC", "BCA")


@pytest.mark.parametrize("status", [401, 403, 429, 402])
def test_a_changed_row_is_another_setting(status: int) -> None:
    """A reload that compiles the same row anew is not a change."""
    desk = Desk()
    desk.note(A, status)
    again, changed = msgspec.structs.replace(A), setting("A", apikey="new")
    assert desk.order((again, B)) == "BA"
    assert desk.order((A, B)) == "BA"
    assert desk.order((changed, B)) == "AB"
    assert desk.note(changed, status) is not None
    assert desk.order((changed, B)) == "BA"


def test_a_clock_that_is_set_back_wakes_everybody() -> None:
    """Nothing sleeps longer than the longest wait."""
    desk = Desk()
    desk.note(A, 401)
    desk.note(B, 429)
    assert desk.later(-86_400).order() == "ABC"


def test_a_caller_cannot_put_a_setting_aside_with_headers_of_its_own() -> None:
    """A wrong organization is 401 too; a used up rate is one all the same."""
    desk = Desk()
    assert desk.note(A, 401, is_steered=True) is None
    assert desk.note(A, 403, is_steered=True) is None
    assert desk.order() == "ABC"
    assert desk.note(A, 429, is_steered=True) is not None
    assert desk.order() == "BCA"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, True), (402, True), (403, True), (429, True), (400, False), (404, False), (500, False), (503, False),
     (200, False), (302, False)],
)  # fmt: skip
def test_a_call_moves_on_only_where_upstream_did_nothing(status: int, expected: bool) -> None:
    assert moves_on(status) is expected


def test_a_call_moves_on_to_one_that_is_not_known_to_refuse() -> None:
    desk = Desk()
    desk.note(B, 429)
    plan = desk.rests.plan(ABC, MODEL, False, desk.now_ms)
    assert [s.id for s in plan] == ["A", "C", "B"]
    desk.note(A, 401)
    assert desk.rests.next_after(plan, 1, MODEL, desk.now_ms) == 1
    desk.note(C, 429)
    assert desk.rests.next_after(plan, 2, MODEL, desk.now_ms) is None
    assert desk.rests.next_after(plan, 2, OTHER, desk.now_ms) == 2
    assert desk.rests.next_after(plan, 3, OTHER, desk.now_ms) is None
    assert desk.rests.next_after((A,), 1, MODEL, desk.now_ms) is None


def test_what_is_remembered_is_bounded_in_number_and_size() -> None:
    """Models' names are the callers'."""
    desk = Desk()
    for number in range(MOST_SLEEPERS * 2):
        desk.note(A, 429, model=f"{number}-" + "x" * 10_000)
        assert len(desk.rests) <= MOST_SLEEPERS
    assert desk.order(model=f"{number}-" + "x" * 10_000) == "BCA", "the latest are kept"
    told = desk.note(A, 429, model="\ud800\n" * 10_000)
    assert isinstance(told, SettingRested)
    assert told.subject.isascii()
    assert len(told.subject) < 2_000


@given(
    st.lists(
        st.tuples(
            st.sampled_from(ABC), st.sampled_from([200, 400, 401, 402, 403, 429, 500]),
            st.sampled_from([MODEL, OTHER, ""]), st.integers(-400, 400), st.booleans(),
            st.sampled_from([{}, {"retry-after": "30"}, {"retry-after": "9999"}]),
        ),
        max_size=40,
    )
)  # fmt: skip
def test_whatever_happens_every_setting_stays_a_choice(history: list[Any]) -> None:
    """A plan is a permutation; one that is awake goes before one that is not; nothing sleeps for ever."""
    desk = Desk()
    for which, status, model, seconds, is_rotated, headers in history:
        desk.note(which, status, model=model, headers=headers)
        desk.later(seconds)
        plan = desk.rests.plan(ABC, model, is_rotated, desk.now_ms)
        assert sorted(s.id for s in plan) == ["A", "B", "C"]
        sleeps = [desk.rests.next_after((s,), 0, model, desk.now_ms) is None for s in plan[1:]]
        assert sleeps == sorted(sleeps)
    desk.now_ms = NOW
    assert desk.later(40 * 400 + ASIDE_SECONDS + PROBE_SECONDS).order() == "ABC"
