"""An operator's prices on their way from the table into a proxy's view, over a real database."""

from proxy.observations import RecordRejected
from tests.servers import Database
from tests.snapshot_rig import NEVER, Connect, Operator, Poller, Start, connect, fresh, operator, start, until

__all__ = ["connect", "fresh", "operator", "start"]

UPSERT = """
    INSERT INTO prices (provider, model, effective_from, entry) VALUES ($1, $2, $3::text::timestamptz, $4::text::jsonb)
    ON CONFLICT (provider, model) DO UPDATE SET entry = excluded.entry, effective_from = excluded.effective_from
"""
NOON_MS = 1_795_262_400_000  # 2026-11-21 12:00 UTC


async def put(operator: Operator, usd: int, model: str = "m", since: str | None = None, entry: str = "") -> None:
    content = entry or f'{{"prices": [{{"classes": {{"input": "{usd}", "output": "9"}}}}]}}'
    await operator.execute(UPSERT, "openai", model, since, content)


def dollars(poller: Poller, model: str = "m", at_ms: int = NOON_MS) -> int | None:
    price = poller.snapshots.current.overrides.catalog.price("openai", model, at_ms)
    return None if price is None else price.rates().input // 1_000_000_000


async def test_a_price_is_there_after_the_first_load_and_follows_every_change(operator: Operator, start: Start) -> None:
    await put(operator, 1, "meta/llama")
    poller = await start()
    assert dollars(poller, "meta/llama") == 1

    await put(operator, 2, "meta/llama")
    await until(lambda: dollars(poller, "meta/llama") == 2)
    await operator.execute("UPDATE prices SET model = 'other'")
    await until(lambda: dollars(poller, "other") == 2)
    assert dollars(poller, "meta/llama") is None
    await operator.execute("DELETE FROM prices")
    await until(lambda: dollars(poller, "other") is None)


async def test_a_change_is_announced(operator: Operator, start: Start) -> None:
    poller = await start(NEVER)
    await put(operator, 1)
    await until(lambda: dollars(poller) == 1)
    await operator.execute("DELETE FROM prices")
    await until(lambda: dollars(poller) is None)


async def test_a_price_deleted_and_put_back_at_once_stays(operator: Operator, start: Start) -> None:
    await put(operator, 1)
    poller = await start()
    async with operator.connection.transaction():
        await operator.execute("DELETE FROM prices")
        await put(operator, 5)

    await until(lambda: dollars(poller) == 5)
    await poller.polled()
    assert dollars(poller) == 5


async def test_a_price_holds_from_its_moment_on(operator: Operator, start: Start) -> None:
    await put(operator, 3, since="2026-11-21 12:00:00+00")
    poller = await start()

    assert (dollars(poller, at_ms=NOON_MS - 1), dollars(poller, at_ms=NOON_MS)) == (None, 3)


async def test_a_bad_row_is_told_and_the_last_good_one_stays(operator: Operator, start: Start) -> None:
    await put(operator, 4)
    poller = await start()
    await put(operator, 0, entry='{"prices": [{"classes": {"input": "-1", "output": "9"}}]}')
    await put(operator, 6, "n")

    await until(lambda: poller.told(RecordRejected))
    await until(lambda: dollars(poller, "n") == 6)
    [told] = poller.told(RecordRejected)
    assert (told.kind, told.id) == ("price", "openai/m")
    assert "prices[0].classes.input: -1" in told.error
    assert dollars(poller) == 4
    await put(operator, 7)
    await until(lambda: dollars(poller) == 7)


async def test_a_price_that_is_too_long_is_rejected_and_nothing_else(operator: Operator, start: Start) -> None:
    await put(operator, 4)
    poller = await start()
    long = '{"prices": [{"classes": {"input": "1", "output": "1"}, "tiers": {"%s": {}}}]}' % ("t" * 70_000)
    await put(operator, 0, "long", entry=long)

    await until(lambda: poller.told(RecordRejected))
    assert (dollars(poller), dollars(poller, "long")) == (4, None)


async def test_what_no_change_told_of_is_put_right(
    connect: Connect, operator: Operator, start: Start, fresh: Database
) -> None:
    await put(operator, 4)
    poller = await start(0.02)
    owner = await connect(fresh.owner)
    await owner.execute("TRUNCATE prices")
    await poller.polled()
    poller.snapshots._next_shard = 0

    await until(lambda: dollars(poller) is None)


async def test_a_change_of_prices_compiles_no_key_anew(operator: Operator, start: Start) -> None:
    await operator.add_key("k")
    poller = await start()
    key = poller.get("k")
    await put(operator, 1)

    await until(lambda: dollars(poller) == 1)
    assert poller.get("k") is key
