"""What an operator changes through the admin API is what a proxy's poller sees: every field, whole, in order."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest_asyncio

from proxy.core.compiled import CompiledKey
from proxy.observations import BugFound, RecordRejected, SnapshotFailed
from shared.keys import key_sha256, peppered_digest
from tests.admin.conftest import KEYS, SETTINGS, make_key, make_setting
from tests.servers import Database
from tests.snapshot_rig import SECRETS, Poller, until


@pytest_asyncio.fixture(loop_scope="session")
async def poller(database: Database) -> AsyncIterator[Poller]:
    poller = Poller(database.proxy)
    assert await poller.snapshots.start(10)
    yield poller
    await poller.stop()
    assert poller.told(BugFound) == poller.told(RecordRejected) == poller.told(SnapshotFailed) == []


class Watched:
    """A key that the operator changes and the proxy looks up by its text."""

    def __init__(self, admin: httpx2.AsyncClient, poller: Poller, created: dict[str, Any], text: str) -> None:
        self._admin = admin
        self._poller = poller
        self.id = created["keyId"]
        self._digests = tuple(peppered_digest(key_sha256(text), pepper) for pepper in SECRETS.peppers.values())

    def seen(self) -> CompiledKey | None:
        """As a request would see it now."""
        return self._poller.snapshots.current.find_key(self._digests)

    def key(self) -> CompiledKey:
        """The same, which must be there."""
        key = self.seen()
        assert key is not None
        return key

    async def patch(self, **body: Any) -> CompiledKey:
        """The key after a poll that began after the change was answered."""
        answer = await self._admin.patch(f"{KEYS}/{self.id}", json=body)
        assert answer.status_code == 200, answer.text
        await self._poller.polled()
        return self.key()


async def watch(admin: httpx2.AsyncClient, poller: Poller, **body: Any) -> Watched:
    text = f"chosen-{uuid4()}"
    watched = Watched(admin, poller, await make_key(admin, key=text, **body), text)
    await poller.polled()
    assert watched.seen() is not None
    return watched


async def test_every_field_of_a_key(admin: httpx2.AsyncClient, poller: Poller) -> None:
    """One after the other, each in the first poll after it was answered."""
    first, second = (await make_setting(admin))["id"], (await make_setting(admin, provider="anthropic"))["id"]
    key = await watch(admin, poller, settingId=first)

    assert (await key.patch(name="new", tags=["a", "b"])).tags == ("a", "b")
    assert key.key().name == "new"
    assert (await key.patch(revoked=True, revokedReason="stolen")).is_revoked
    assert not (await key.patch(revoked=False)).is_revoked
    paths = [{"path": "/a", "method": "post"}]
    assert (await key.patch(allowedPaths=paths)).allowed_paths == {("POST", "/a")}
    assert (await key.patch(allowedPaths=[])).allowed_paths == frozenset()
    assert [one.id for one in (await key.patch(settingIds=[second, first])).settings] == [second, first]
    assert key.key().settings_for("anthropic")[0].id == second
    assert [one.id for one in (await key.patch(settingId=first)).settings] == [first]
    for said, name in (
        ("rotationEnabled", "is_rotated"),
        ("shouldLogRequest", "logs_request"),
        ("shouldLogResponse", "logs_response"),
    ):
        assert getattr(await key.patch(**{said: True}), name) is True
        assert getattr(await key.patch(**{said: False}), name) is False


async def test_limits_of_a_key(admin: httpx2.AsyncClient, poller: Poller) -> None:
    """Set, begun anew by naming their unit, moved to another unit, cleared."""
    key = await watch(admin, poller, costLimitInUsd=1)

    async def limits(**body: Any) -> dict[tuple[str, str], tuple[int, int]]:
        return {(one.resource, one.window): (one.amount, one.generation) for one in (await key.patch(**body)).limits}

    total = {("cost", "total"): (1_000_000_000, 1)}
    assert await limits() == total
    assert await limits(rateLimitOverTime=2, rateLimitUnit="m") == total | {("requests", "m"): (2, 1)}
    assert await limits(rateLimitOverTime=2, rateLimitUnit="m") == total | {("requests", "m"): (2, 2)}
    begun = {one.resource: one.reset_at_ms for one in key.key().limits}
    assert begun["requests"] >= begun["cost"]
    assert await limits(rateLimitOverTime=3, rateLimitUnit="d") == total | {("requests", "d"): (3, 1)}
    assert await limits(costLimitInUsdOverTime=0.5, costLimitInUsdUnit="mo", costLimitInUsd=2) == {
        ("cost", "total"): (2_000_000_000, 1),
        ("cost", "mo"): (500_000_000, 1),
        ("requests", "d"): (3, 1),
    }
    assert await limits(rateLimitOverTime=0, rateLimitUnit="", costLimitInUsdOverTime=0, costLimitInUsdUnit="") == {
        ("cost", "total"): (2_000_000_000, 1)
    }
    assert await limits(costLimitInUsd=0) == {}
    assert not key.key().is_limited


async def test_where_a_setting_leads_and_with_what_changes_at_once(admin: httpx2.AsyncClient, poller: Poller) -> None:
    """In no view does the new credential stand beside the old URL."""
    setting_id = (await make_setting(admin, setting={"apikey": "sk-0", "url": "http://0.example"}))["id"]
    key = await watch(admin, poller, settingId=setting_id)
    seen: set[tuple[str | None, str]] = set()

    def looked() -> tuple[str | None, str]:
        setting = key.key().settings[0]
        seen.add((setting.base_url, setting.credential["apikey"]))
        return setting.base_url, setting.credential["apikey"]

    for n in range(1, 11):
        body = {"setting": {"apikey": f"sk-{n}", "url": f"http://{n}.example"}, "allowedModels": [f"m{n}"]}
        answer = await admin.patch(f"{SETTINGS}/{setting_id}", json=body)
        assert answer.status_code == 200
        await until(lambda n=n: looked() == (f"http://{n}.example", f"sk-{n}"))
        assert key.key().settings[0].allowed_models == {f"m{n}"}

    assert seen == {(f"http://{n}.example", f"sk-{n}") for n in range(11)}


async def test_the_rest_of_a_setting(admin: httpx2.AsyncClient, poller: Poller) -> None:
    """Prices and what happens without one, set and cleared; a new credential opens."""
    setting_id = (await make_setting(admin, provider="vllm", setting={"url": "http://one.example/v1"}))["id"]
    key = await watch(admin, poller, settingId=setting_id)

    async def patch(**body: Any) -> Any:
        assert (await admin.patch(f"{SETTINGS}/{setting_id}", json=body)).status_code == 200
        await poller.polled()
        return key.key().settings[0]

    assert key.key().settings[0].credential == {}
    priced = await patch(costMap={"embeddingsCostPerModel": {"e": 0.001}}, unpriced="free")
    assert (priced.cost_map.embeddings_cost_per_model, priced.unpriced) == ({"e": 1_000_000_000}, "free")
    bare = await patch(costMap=None, unpriced="")
    assert (bare.cost_map, bare.unpriced) == (None, None)
    keyed = await patch(setting={"apikey": "sk-new"})
    assert (keyed.credential, keyed.base_url, keyed.is_usable) == ({"apikey": "sk-new"}, "http://one.example", True)


async def test_what_is_deleted_is_gone(admin: httpx2.AsyncClient, poller: Poller) -> None:
    """A key by its tombstone, then the setting it used by its own; the key's text may be used again."""
    setting_id = (await make_setting(admin))["id"]
    text = f"chosen-{uuid4()}"
    key = Watched(admin, poller, await make_key(admin, key=text, settingId=setting_id), text)
    await poller.polled()
    assert setting_id in poller.snapshots.current.settings

    assert (await admin.delete(f"{SETTINGS}/{setting_id}")).status_code == 409
    await poller.polled()
    assert setting_id in poller.snapshots.current.settings
    assert (await admin.delete(f"{KEYS}/{key.id}")).status_code == 200
    await poller.polled()
    assert key.seen() is None
    assert (await admin.delete(f"{SETTINGS}/{setting_id}")).status_code == 200
    await poller.polled()
    assert setting_id not in poller.snapshots.current.settings
    again = await make_key(admin, key=text)
    await poller.polled()
    assert key.key().id == again["keyId"] != key.id
