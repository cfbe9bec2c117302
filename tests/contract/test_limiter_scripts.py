"""The Lua steps against a model in Python: whatever happens in whatever order, both say the same (invariants I2-I5)."""

import socket
from collections.abc import Sequence
from typing import Any

import hiredis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

from proxy.adapters.limiter.link import Argument, pack
from proxy.adapters.limiter.scripts import (
    HELD,
    KNOWN_ATTEMPT,
    RENEW,
    RESERVE,
    SETTLE,
    SOURCES,
    STALE_WINDOW,
    USED_UP,
    Epoch,
    Layout,
    Run,
    attempts_key,
    bulk,
    epoch_key,
    reserve_layout,
    settle_layout,
)
from proxy.core.holds import Bounds
from proxy.core.limits import RESOURCES, Count, KeyLimits, Naming, Verdict, compile_limits, decide, demand, needs_lane
from shared.ids import uuid7_text
from shared.records import Limit
from tests.limiter_rig import make_limit
from tests.servers import ValkeyServer

ACCOUNT = "default"
EPOCH = Epoch(b"e:r:0", "e", b"r", 0)
CODES = {"none": 0, "backed": 0, "clamped": 1, "lane": 2}


class Client:
    """Scripts run one at a time, on a plain socket."""

    def __init__(self, server: ValkeyServer) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(server.socket_path)
        self._reader = hiredis.Reader()
        for source in SOURCES:
            self.ask("SCRIPT", "LOAD", source)
        self.ask("SET", epoch_key(ACCOUNT), EPOCH.value)

    def ask(self, *arguments: Argument) -> Any:
        return self.send(pack(arguments))

    def send(self, command: bytes) -> Any:
        self._socket.sendall(command)
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(65536))
        assert not isinstance(reply, Exception), reply
        return reply

    def now_ms(self) -> int:
        seconds, micros = self.ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def reserve(self, limits: KeyLimits, naming: Naming, calls: Sequence[tuple[str, Bounds | None]]) -> list[list[int]]:
        run = Run(RESERVE, ACCOUNT, EPOCH, own_count=4)
        for attempt, bounds in calls:
            asked = demand(bounds)
            clamp = -1 if asked.clamp_nano is None else asked.clamp_nano
            own = "".join(map(bulk, (asked.worst_nano, asked.least_nano, clamp, int(asked.is_unbounded))))
            run.add(attempt, own, reserve_layout(limits.limits, naming))
        return self.send(run.packed())[1:]

    def settle(self, naming: Naming, settles: Sequence[tuple[str, str, bool]]) -> list[int]:
        run = Run(SETTLE, ACCOUNT, EPOCH, own_count=2)
        for attempt, verb, is_replay in settles:
            run.add(attempt, f"{bulk(verb)}{bulk(int(is_replay))}", settle_layout(naming.order_buckets))
        return self.send(run.packed())[1:]

    def renew(self, naming: Naming, attempt: str, held: Sequence[tuple[int, bool]]) -> None:
        run = Run(RENEW, ACCOUNT, EPOCH, own_count=0)
        arguments: list[str | int] = [len(naming.buckets)]
        for bucket, (amount, in_lane) in zip(naming.buckets, held, strict=True):
            arguments += [RESOURCES[bucket.resource].code, bucket.ends_ms, amount, int(in_lane)]
        run.add(attempt, "", Layout.of(naming.buckets, arguments))
        assert len(self.send(run.packed())) == 1


class Budget:
    """The model's counter with its holds."""

    def __init__(self) -> None:
        self.spent = 0
        self.holds: dict[str, int] = {}
        self.lane = ""

    def count(self) -> Count:
        return Count(self.spent, sum(self.holds.values()), bool(self.lane))

    def release(self, attempt: str) -> None:
        self.holds.pop(attempt, None)
        if self.lane == attempt:
            self.lane = ""

    def place(self, attempt: str, amount: int, in_lane: bool) -> None:
        if amount and attempt not in self.holds:
            self.holds[attempt] = amount
            if in_lane and not self.lane:
                self.lane = attempt


amounts = st.integers(0, 40)
calls = st.none() | st.builds(
    Bounds, worst_nano=amounts, least_nano=amounts, clamp_nano=st.none() | amounts, is_unbounded=st.booleans()
)


class LimiterModel(RuleBasedStateMachine):
    """One key with three limits, and everything that can become of its attempts."""

    client: Client
    attempts = Bundle("attempts")

    @initialize(total=st.integers(20, 200), day=st.integers(20, 100), requests=st.integers(3, 12))
    def begin(self, total: int, day: int, requests: int) -> None:
        limits = (
            make_limit("cost", "total", total),
            make_limit("cost", "d", day),
            make_limit("requests", "d", requests),
        )
        self.limits: tuple[Limit, ...] = limits
        self.compiled = compile_limits(ACCOUNT, uuid7_text(), limits)
        self.naming = self.compiled.name(self.client.now_ms())
        self.budgets = [Budget() for _ in limits]
        self.marks: dict[str, str] = {}
        self.held: dict[str, list[tuple[int, bool]]] = {}

    @rule(target=attempts, batch=st.lists(calls, min_size=1, max_size=3))
    def reserve(self, batch: list[Bounds | None]) -> Any:
        named = [(uuid7_text(), bounds) for bounds in batch]
        answers = self.client.reserve(self.compiled, self.naming, named)
        for (attempt, bounds), answer in zip(named, answers, strict=True):
            verdict = self._decide(bounds)
            said = [number for budget in self.budgets for number in (budget.spent, sum(budget.holds.values()))]
            if verdict.kind is None:
                assert answer == [HELD if verdict.is_held else USED_UP, verdict.denied + 1, *said]
                continue
            assert answer == [CODES[verdict.kind], 0, *said]
            self._admit(attempt, bounds, verdict)
        return multiple(*(attempt for attempt, _ in named))

    def _decide(self, bounds: Bounds | None) -> Verdict:
        ends = [bucket.ends_ms for bucket in self.naming.buckets]
        return decide(self.limits, ends, [budget.count() for budget in self.budgets], bounds)

    def _admit(self, attempt: str, bounds: Bounds | None, verdict: Verdict) -> None:
        self.marks[attempt] = "o3"
        self.held[attempt] = []
        for limit, budget, amount in zip(self.limits, self.budgets, verdict.amounts, strict=True):
            if limit.resource == "requests":
                budget.spent += 1
            left = limit.amount - budget.spent - sum(budget.holds.values())
            in_lane = verdict.kind == "lane" and limit.resource == "cost" and needs_lane(demand(bounds), left)
            budget.place(attempt, amount, in_lane)
            self.held[attempt].append((amount, in_lane))
            if limit.resource == "cost":
                assert not amount or budget.spent + sum(budget.holds.values()) <= limit.amount

    @rule(target=attempts)
    def lose(self) -> str:
        """An attempt that Redis never saw: of a key without limits, or lost with an epoch."""
        return uuid7_text()

    @rule(
        ended=st.lists(
            st.tuples(attempts, st.none() | st.just(0) | st.integers(0, 60), st.booleans()), min_size=1, max_size=3
        )
    )
    def settle(self, ended: list[tuple[str, int | None, bool]]) -> None:
        """None: void."""
        verbs = [(attempt, "v" if cost is None else str(cost), is_replay) for attempt, cost, is_replay in ended]
        expected = [
            index for index, (attempt, verb, is_replay) in enumerate(verbs, 1)
            if not self._settled(attempt, verb, is_replay)
        ]  # fmt: skip
        assert self.client.settle(self.naming, verbs) == expected

    def _settled(self, attempt: str, verb: str, is_replay: bool) -> bool:
        mark = self.marks.get(attempt)
        if mark is None and is_replay:
            return False
        if verb == "v":
            if mark in (None, "o3"):
                self.marks[attempt] = "v"
            requests, cost = (-1 if mark == "o3" else 0), 0
        elif mark == "v" and verb == "0":
            return True
        else:
            requests = 1 if mark in (None, "v") else 0
            cost = int(verb) - (int(mark) if mark and mark.isdigit() else 0)
            self.marks[attempt] = verb
        for limit, budget in zip(self.limits, self.budgets, strict=True):
            if mark == "o3":
                budget.release(attempt)
            budget.spent += cost if limit.resource == "cost" else requests
        return True

    @rule(attempt=attempts)
    def renew(self, attempt: str) -> None:
        mark = self.marks.get(attempt)
        held = self.held.get(attempt) or [(0, False) for _ in self.limits]
        if mark in (None, "o3"):
            self.marks[attempt] = mark or "o3"
            for limit, budget, (amount, in_lane) in zip(self.limits, self.budgets, held, strict=True):
                budget.place(attempt, amount, in_lane)
                if mark is None and limit.resource == "requests":
                    budget.spent += 1
        self.client.renew(self.naming, attempt, held)

    @rule(attempt=attempts)
    def expire(self, attempt: str) -> None:
        """Its worker stopped renewing it."""
        for bucket, budget in zip(self.naming.buckets, self.budgets, strict=True):
            budget.release(attempt)
            if bucket.resource == "cost":
                holds = f"{bucket.name}:holds"
                if (hold := self.client.ask("HGET", holds, attempt)) is not None:
                    self.client.ask("HSET", holds, attempt, hold.split(b":")[0] + b":1", "next", "1")

    @rule(attempt=consumes(attempts), bounds=calls)
    def reserve_again(self, attempt: str, bounds: Bounds | None) -> None:
        """A reservation that arrives after it was voided, or twice, changes nothing."""
        verdict = self._decide(bounds)
        (answer,) = self.client.reserve(self.compiled, self.naming, [(attempt, bounds)])
        if attempt in self.marks and verdict.kind is not None:
            assert answer == [KNOWN_ATTEMPT]
        elif verdict.kind is not None:
            self._admit(attempt, bounds, verdict)

    def teardown(self) -> None:
        if not hasattr(self, "naming"):
            return
        for bucket, budget in zip(self.naming.buckets, self.budgets, strict=True):
            assert int(self.client.ask("GET", bucket.name) or 0) == budget.spent
        for attempt, mark in self.marks.items():
            assert self.client.ask("HGET", attempts_key(ACCOUNT, EPOCH.id, attempt), attempt).decode() == mark
        for attempt in list(self.marks):
            self._settled(attempt, "v", False)
            self.client.settle(self.naming, [(attempt, "v", False)])
        self.client.reserve(self.compiled, self.naming, [(uuid7_text(), Bounds(10**9, 10**9, None))])
        for bucket in self.naming.buckets:
            assert self.client.ask("EXISTS", f"{bucket.name}:holds") == 0


@pytest.fixture(scope="module")
def client(valkey: ValkeyServer) -> Client:
    return Client(valkey.fresh())


def test_the_scripts_do_what_the_model_says(client: Client) -> None:
    """Reserve, settle, settle again, void, renew, expire, arrive late: the same answers and counters throughout."""
    machine = type("Machine", (LimiterModel,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_reservation_outside_its_windows_changes_nothing(client: Client) -> None:
    """The worker named a window that is not current: it is told so, and Redis's time with it."""
    compiled = compile_limits(ACCOUNT, uuid7_text(), (make_limit("requests", "m", 5),))
    for minutes in (-1, 1):
        naming = compiled.name(client.now_ms() + minutes * 60_000)
        assert client.reserve(compiled, naming, [(uuid7_text(), None)]) == [[STALE_WINDOW]]
        assert client.ask("EXISTS", naming.buckets[0].name) == 0


def test_another_epoch_stops_every_script(client: Client) -> None:
    """Nothing is counted under an epoch that is not Redis's own; the answer tells which one is."""
    compiled = compile_limits(ACCOUNT, uuid7_text(), (make_limit("requests", "d", 5),))
    naming = compiled.name(client.now_ms())
    other = Epoch(b"x:r:0", "x", b"r", 0)
    for script, own, layout in (
        (RESERVE, "".join(map(bulk, (0, 0, -1, 0))), reserve_layout(compiled.limits, naming)),
        (SETTLE, f"{bulk('5')}{bulk(0)}", settle_layout(naming.order_buckets)),
    ):
        run = Run(script, ACCOUNT, other, own_count=own.count("$"))
        run.add(uuid7_text(), own, layout)
        assert client.send(run.packed())[1:] == [b"epoch", EPOCH.value]
    assert client.ask("EXISTS", *(bucket.name for bucket in naming.order_buckets)) == 0
