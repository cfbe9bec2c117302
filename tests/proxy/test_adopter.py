"""A dead worker's journal is taken over: exact amounts, once, whoever the heirs are and whatever happens to them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.adapters.clock import SystemClock
from proxy.adapters.journal import DiskJournal
from proxy.adapters.segments import segment_paths, take_lock
from proxy.core import journal as records
from proxy.observations import EventsLost, JournalAdopted, ShippingFailed
from shared.events import Event
from tests.attempts import ADMITTED_US, make_attempt, make_event
from tests.journal_rig import Ledger, Rig, Writer, eventually, frozen, opened_ids
from tests.servers import Database, PostgresServer

MakeRig = Callable[..., Rig]


@pytest.fixture
async def make_rig(database: Database, tmp_path: Path) -> AsyncIterator[MakeRig]:
    """Rigs on this test's folder, closed at its end."""
    made: list[Rig] = []

    def make(worker: str, **over: Any) -> Rig:
        made.append(Rig(tmp_path, {**database.proxy, "timeout": 2, "command_timeout": 1}, worker, **over))
        return made[-1]

    yield make
    for rig in made:
        await rig.close(0.5)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database.owner)


class Dead:
    """A worker that died with one stream of 7 tokens, one call just opened, one of unknown price, and one closed."""

    def __init__(self, root: Path, worker: str) -> None:
        journal = DiskJournal(root, worker, SystemClock(), print, 1 << 30)
        over = {"worker": worker, "key_id": worker}
        self.streaming, self.opened = make_attempt(**over), make_attempt(**over)
        self.unpriced, closing = make_attempt(None, 0, **over), make_attempt(**over)
        self.closed: Event = make_event(id=closing.event.id, **over)
        for attempt in (self.streaming, self.opened, self.unpriced, closing):
            journal.open(attempt)
        told = records.Progress(self.streaming.event.id, 7, ADMITTED_US + 5_000_000)
        journal.folder.append(records.encode_progress(told))
        journal.close(self.closed, closing.order)
        journal.folder.release(is_done=False)
        self.folder = journal.folder.path

    def amounts(self) -> dict[str, int | None]:
        """What each attempt costs: 1,000 for the prompt, 600 for each token."""
        return {
            self.streaming.event.id: 1_000 + 7 * 600,
            self.opened.event.id: 1_000,
            self.unpriced.event.id: None,
            self.closed.id: 2_000_000,
        }

    def rows(self) -> dict[str, tuple[str, int | None]]:
        """What Postgres must have."""
        return {
            name: ("completed" if name == self.closed.id else "recovered", amount)
            for name, amount in self.amounts().items()
        }


async def test_opens_are_billed_and_closes_repeated_to_the_nano(
    make_rig: MakeRig, ledger: Ledger, tmp_path: Path
) -> None:
    """Prompt bound + progress; Redis is settled with the same amounts; the folder goes."""
    dead = Dead(tmp_path, "dead-exact")
    rig = make_rig("heir")

    rig.adopter.scan()
    await eventually(lambda: asyncio.sleep(0, dead.folder.exists()), False)

    assert await ledger.rows("dead-exact") == dead.rows()
    assert rig.settled == dead.amounts()
    assert rig.told(JournalAdopted) == [JournalAdopted(worker="dead-exact", recovered=3, closed=1)]
    assert rig.told(EventsLost) == []


async def test_a_killed_worker_is_adopted_by_exactly_one_of_two_heirs(
    make_rig: MakeRig, ledger: Ledger, tmp_path: Path
) -> None:
    """Every attempt that the dead worker knew of has one event, and its cost is in events and rollup once."""
    writer = Writer(tmp_path, "dead-killed", 3001)
    writer.wait_for("done")
    opened, closed = writer.kill()
    assert len(opened) == 3001
    first, second = make_rig("heir-1"), make_rig("heir-2")

    first.adopter.start()
    second.adopter.start()
    await eventually(lambda: asyncio.sleep(0, writer.folder.exists()), False)

    rows = await ledger.rows("dead-killed")
    assert set(rows) == opened
    assert {name for name, row in rows.items() if row == ("completed", 2_000_000)} == closed
    assert {name for name, row in rows.items() if row == ("recovered", 1_000)} == opened - closed
    total = 1500 * 2_000_000 + 1501 * 1_000
    assert await ledger.sums("dead-killed") == (3001, total, 3001, total)
    assert first.told(JournalAdopted) + second.told(JournalAdopted) == [
        JournalAdopted(worker="dead-killed", recovered=1501, closed=1500)
    ]
    assert {**first.settled, **second.settled} == {name: row[1] for name, row in rows.items()}
    assert first.settles + second.settles == 3001


async def test_a_living_workers_journal_is_left_alone(make_rig: MakeRig, ledger: Ledger, tmp_path: Path) -> None:
    """Its lock is held, so nobody reads it, ships it or bills its open attempts."""
    writer = Writer(tmp_path, "alive", 11)
    writer.wait_for("done")
    rig = make_rig("heir")

    rig.adopter.scan()
    await asyncio.sleep(0.3)

    assert await ledger.rows("alive") == {}
    assert rig.journal.other_bytes == sum(path.stat().st_size for path in segment_paths(writer.folder))
    writer.kill()
    rig.adopter.scan()
    await eventually(lambda: asyncio.sleep(0, writer.folder.exists()), False)
    assert len(await ledger.rows("alive")) == 11


async def test_an_heir_that_dies_half_way_has_an_heir(make_rig: MakeRig, ledger: Ledger, tmp_path: Path) -> None:
    """The second makes the same events at another time: nothing is doubled, and Redis gets the same amounts."""
    dead = Dead(tmp_path, "dead-twice")
    first = make_rig("heir-1")
    first.is_limiter_away = True
    first.adopter.scan()
    await eventually(lambda: ledger.rows("dead-twice"), dead.rows())
    await eventually(lambda: asyncio.sleep(0, first.settled), dead.amounts())
    await first.adopter.close_down()
    assert dead.folder.exists()
    second = make_rig("heir-2")

    second.adopter.scan()
    await eventually(lambda: asyncio.sleep(0, dead.folder.exists()), False)

    assert await ledger.rows("dead-twice") == dead.rows()
    assert (await ledger.sums("dead-twice"))[0] == 4
    assert second.settled == dead.amounts()


async def test_an_event_that_got_there_before_is_what_redis_is_settled_with(
    make_rig: MakeRig, ledger: Ledger, tmp_path: Path
) -> None:
    """Its close never reached the full disk, but Postgres: the first event is the truth, and both agree."""
    dead = Dead(tmp_path, "dead-known")
    known = make_event(id=dead.streaming.event.id, key_id="dead-known", charged_cost_nano=777)
    rig = make_rig("heir")
    await rig.store.ingest([records.encode_event(known)])

    rig.adopter.scan()
    await eventually(lambda: asyncio.sleep(0, dead.folder.exists()), False)

    assert await ledger.rows("dead-known") == dead.rows() | {known.id: ("completed", 777)}
    assert rig.settled == dead.amounts() | {known.id: 777}


async def test_while_postgres_is_away_budgets_are_settled_all_the_same(
    make_rig: MakeRig, ledger: Ledger, tmp_path: Path, postgres: PostgresServer
) -> None:
    """The dead worker's holds expire in seconds; its money must not be free until Postgres is back."""
    dead = Dead(tmp_path, "dead-away")
    rig = make_rig("heir")

    with frozen(postgres.child.pid):
        rig.adopter.scan()
        recovered = {name: cost for name, cost in dead.amounts().items() if name != dead.closed.id}
        await eventually(lambda: asyncio.sleep(0, dict(rig.settled)), recovered)
        assert rig.told(ShippingFailed)
        assert dead.folder.exists()

    await eventually(lambda: asyncio.sleep(0, dead.folder.exists()), False)
    assert await ledger.rows("dead-away") == dead.rows()
    assert rig.settled == dead.amounts()


async def test_damage_is_told_and_the_rest_is_saved(make_rig: MakeRig, ledger: Ledger, tmp_path: Path) -> None:
    """Half a record at the end, and a record of another age: what can be read is billed, nothing is silent."""
    dead = Dead(tmp_path, "dead-damaged")
    foreign = b"O" + b"\xff\xff"
    with segment_paths(dead.folder)[-1].open("ab") as segment:
        segment.write(records.frame(foreign))
        segment.write(records.encode_open(make_attempt())[:-1])
    rig = make_rig("heir")

    rig.adopter.scan()
    await eventually(lambda: asyncio.sleep(0, dead.folder.exists()), False)

    assert await ledger.rows("dead-damaged") == dead.rows()
    assert [one.events for one in rig.told(EventsLost)] == [1, 0]


async def test_a_folder_without_anything_in_it_goes_quietly(make_rig: MakeRig, tmp_path: Path) -> None:
    """What a worker leaves that died before its first call."""
    empty = DiskJournal(tmp_path, "empty", SystemClock(), print, 1 << 30)
    empty.folder.release(is_done=False)
    (tmp_path / "bare").mkdir()
    rig = make_rig("heir")

    rig.adopter.scan()
    await eventually(lambda: asyncio.sleep(0, empty.folder.path.exists()), False)

    assert not (tmp_path / "bare").exists()
    assert rig.told(JournalAdopted) == []


async def test_a_long_attempt_is_recovered_from_where_it_was_moved_to(
    make_rig: MakeRig, ledger: Ledger, tmp_path: Path
) -> None:
    """Its first segment is gone when its worker dies; its bill is the same."""
    doomed = make_rig("doomed", segment_bytes=20_000)
    doomed.shipper.start()
    attempt = make_attempt(key_id="long")
    doomed.journal.open(attempt)
    doomed.journal.progress(attempt.event.id, 50)
    await eventually(lambda: asyncio.sleep(0, _has_progress(doomed)), True)
    for _ in range(5):
        doomed.make_calls(40, key_id="other")
        await asyncio.sleep(0.3)
    assert segment_paths(doomed.journal.folder.path)[0].name > "00000003.seg"
    assert opened_ids(doomed.journal.folder.path) >= {attempt.event.id}
    await doomed.close()  # with an attempt still open it leaves its folder

    rig = make_rig("heir")
    rig.adopter.scan()
    await eventually(lambda: asyncio.sleep(0, doomed.journal.folder.path.exists()), False)

    assert await ledger.rows("long") == {attempt.event.id: ("recovered", 1_000 + 50 * 600)}


def _has_progress(rig: Rig) -> bool:
    return b"P" in {bytes([frame.kind]) for frame in _frames(rig)}


def _frames(rig: Rig) -> list[records.Frame]:
    data = segment_paths(rig.journal.folder.path)[0].read_bytes()
    return records.split_frames(data).frames


async def test_many_heirs_at_once_take_each_folder_once(make_rig: MakeRig, ledger: Ledger, tmp_path: Path) -> None:
    """Four heirs scan eight dead folders over and over: each is adopted once, and no lock is left behind."""
    dead = [Dead(tmp_path, f"dead-{number}") for number in range(8)]
    rigs = [make_rig(f"heir-{number}") for number in range(4)]

    while any(one.folder.exists() for one in dead):
        for rig in rigs:
            rig.adopter.scan()
        await asyncio.sleep(0.02)

    adopted = sorted(one.worker for rig in rigs for one in rig.told(JournalAdopted))
    assert adopted == [f"dead-{number}" for number in range(8)]
    for one in dead:
        assert await ledger.rows(one.closed.key_id) == one.rows()
    own = take_lock(rigs[0].journal.folder.path)
    assert own is None
    assert len(os.listdir(tmp_path)) == 4
