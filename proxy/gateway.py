"""The request's path, top to bottom.

Each line of `_serve` is one room: what may refuse is visible here, in order, and every `await` is an adapter.
Three worlds of errors leave it: Refusal (ours), UpstreamFailure (theirs), anything else is a bug. Whatever happens,
`Books.finish` settles the hold, closes the journal and tells one observation; none of that awaits.
"""

import math
from contextlib import suppress

from proxy import endpoints
from proxy.books import Books
from proxy.core import access, pricing
from proxy.core.headers import RequestHeaders, read_headers, read_query, refusal_headers, upstream_headers
from proxy.core.holds import Bounds, Hold
from proxy.core.limits import LimitRefusal, RateState
from proxy.core.routing import Rests
from proxy.core.snapshot import CompiledKey, CompiledSetting, Snapshot
from proxy.endpoints import Endpoint, Match
from proxy.exchange import Exchange
from proxy.observations import BugFound
from proxy.ports import CallerLeft, Clock, Counters, Downstream, Objects, Observer, Snapshots, UpstreamRequest
from proxy.providers import PROVIDERS, upstream_url
from proxy.relay import Relay
from proxy.wire import FORMATS
from proxy.wire.errors import render_error
from proxy.wire.format import Call, Format
from shared.catalog import Catalog, Price
from shared.errors import Refusal, UpstreamFailure
from shared.ids import uuid7_text
from shared.keys import is_junk, key_sha256, mask_key, peppered_digest

# How long an unknown key may wait for the change that makes it known: a key works as soon as the admin API has
# answered, though the poll that brings it takes some milliseconds, on a busy machine some hundred. The request itself
# causes no I/O, and its wait ends with the first poll that began after it came and found nothing.
UNKNOWN_KEY_SECONDS = 1.0
REMEMBERED_DIGESTS = 10_000
LONGEST_SHOWN_ID = 128


def _rate_of(refusal: Refusal) -> RateState | None:
    return refusal.rate if isinstance(refusal, LimitRefusal) else None


class Gateway:
    """The data plane's one way from a caller to a provider."""

    def __init__(
        self,
        *,
        snapshots: Snapshots,
        counters: Counters,
        objects: Objects,
        rests: Rests,
        books: Books,
        relay: Relay,
        observe: Observer,
        clock: Clock,
        catalog: Catalog,
        peppers: tuple[bytes, ...],
        default_urls: dict[str, str],
        timeout_seconds: float,
        snapshot_max_age: float,
    ) -> None:
        self._snapshots = snapshots
        self._counters = counters
        self._objects = objects
        self._rests = rests
        self._books = books
        self._relay = relay
        self._observe = observe
        self._clock = clock
        self._catalog = catalog
        self._peppers = peppers
        self._remembered_digests: dict[bytes, tuple[bytes, ...]] = {}
        self._default_urls = default_urls
        self._timeout_seconds = timeout_seconds
        self._snapshot_max_age = snapshot_max_age
        self.running = 0
        """Requests that are being answered right now."""

    async def handle(self, down: Downstream) -> None:
        """Answer one request. Never raises, but for cancellation."""
        x = Exchange(down.method, down.path, self._clock.now_us())
        self.running += 1
        try:
            await self._serve(x, down)
        except Refusal as refusal:
            x.outcome = "refused"
            await self._answer(x, down, refusal.kind, refusal.message, refusal.retry_after, _rate_of(refusal))
        except UpstreamFailure as failure:
            x.outcome = "failed"
            await self._answer(x, down, failure.kind, failure.message, None)
        except CallerLeft:
            x.status, x.outcome, x.error_kind = x.status or 499, "cancelled", x.error_kind or "caller_left"
        except Exception as error:  # noqa: BLE001 - the boundary: a bug is answered blandly and told in full
            self._observe(BugFound(where="gateway", error=error))
            x.outcome = "failed"
            await self._answer(x, down, "internal", "internal error", None)
        finally:
            self.running -= 1
            if not x.is_detached:
                self._books.finish(x)

    async def _serve(self, x: Exchange, down: Downstream) -> None:
        headers = read_headers(down.headers)
        x.read_head(headers)
        match = endpoints.match(down.method, down.path)
        if match is None:
            raise Refusal("not_found", f"route not supported: {down.method} {down.path[:200]}")
        x.endpoint = endpoint = match.endpoint
        x.object_id = match.object_id

        snapshot = self._current_snapshot()
        x.key = key = await self._find_key(snapshot, headers)
        now_ms = self._check_head(x, key, endpoint, headers)
        query = read_query(down.query, endpoint.query) if down.query else ""
        body = await down.body(headers.content_length)
        if self._snapshots.current is not snapshot:
            # A body may take its time; what was revoked meanwhile is refused all the same.
            x.key = key = await self._find_key(self._current_snapshot(), headers)
            now_ms = self._check_head(x, key, endpoint, headers)
        del snapshot  # a stream must not keep a view of all keys alive
        form = FORMATS[endpoint.format]
        x.call = call = form.read_call(body)
        x.tiers = ("", call.service_tier) if call.service_tier else ("",)
        x.log_text(key, body)
        settings = key.settings_for(endpoint.provider)
        for call_check in access.CALL_CHECKS:
            call_check(access.CallFacts(settings, call.requested_model))
        settings = access.serving_settings(settings, call.requested_model)
        if call.object_ids or match.object_id:
            settings = await self._owning_settings(key, match, call, settings)
        if len(settings) > 1:
            settings = self._priced_settings(endpoint, key, call, settings, now_ms)
        x.subject = call.requested_model or endpoint.template
        x.plan = self._rests.plan(settings, x.subject, key.is_rotated, now_ms)
        x.is_steered = not headers.values.keys().isdisjoint(PROVIDERS[endpoint.provider].steering)
        await self._attempt(x, down, match, headers, query, form, body, now_ms)
        while x.next_place is not None:
            x.begin_again(self._clock.now_us())
            await self._attempt(x, down, match, headers, query, form, body, self._clock.now_ms())

    async def _attempt(
        self, x: Exchange, down: Downstream, match: Match, headers: RequestHeaders, query: str, form: Format,
        body: bytes, now_ms: int,
    ) -> None:  # fmt: skip
        """Try the setting whose turn it is: price, hold, journal, upstream."""
        key, call, setting = x.key, x.call, x.plan[x.place]
        assert key is not None
        assert call is not None
        x.setting = setting
        x.price = price = self._price(match.endpoint, key, setting, call, now_ms)
        x.attempt_id = x.attempt_id or uuid7_text()
        x.hold = await self._counters.reserve(key, x.attempt_id, self._bounds(key, price, call))
        # The event counts in the window that the limiter counted it in.
        x.admitted_us = x.hold.order.admitted_ms * 1000
        x.output_cap = self._output_cap(x.hold, price, call)
        request = self._request(x, match, setting, headers, query, form.forward(call, body, None, x.output_cap))
        self._books.open(x, key, call)
        await self._relay.run(x, down, request, form, call)

    async def _owning_settings(
        self, key: CompiledKey, match: Match, call: Call, settings: tuple[CompiledSetting, ...]
    ) -> tuple[CompiledSetting, ...]:
        """Of `settings` the one that created every object the request names (design §8): others know nothing of it.

        Raises Refusal object_unknown; limiter_unavailable where nobody can tell whose it is.
        """
        for object_id in (*call.object_ids, *([match.object_id] if match.object_id else ())):
            setting_id = await self._objects.owner(key.account_id, match.endpoint.provider, object_id)
            settings = tuple([setting for setting in settings if setting.id == setting_id])
            if not settings:
                raise Refusal("object_unknown", f"no object with id {object_id[:LONGEST_SHOWN_ID]} was found")
        return settings

    def _check_head(self, x: Exchange, key: CompiledKey, endpoint: Endpoint, headers: RequestHeaders) -> int:
        """Every check that needs no body. The moment it was made at."""
        now_ms = self._clock.now_ms()
        facts = access.HeadFacts(key, headers.credential, now_ms, x.method, endpoint.template, endpoint.provider)
        for check in access.HEAD_CHECKS:
            check(facts)
        self._counters.refuse_remembered(key)
        return now_ms

    def _current_snapshot(self) -> Snapshot:
        if self._snapshots.age_seconds() > self._snapshot_max_age:
            raise Refusal("snapshot_unavailable", "the gateway has no current view of its keys", retry_after=1)
        return self._snapshots.current

    async def _find_key(self, snapshot: Snapshot, headers: RequestHeaders) -> CompiledKey:
        credential = headers.credential
        if not credential:
            raise Refusal("key_missing", "api key not found in header")
        digests = self._digests(credential)
        key = snapshot.find_key(digests)
        if key is None and not is_junk(credential):
            until = self._clock.monotonic() + UNKNOWN_KEY_SECONDS
            while key is None and await self._snapshots.changed(until - self._clock.monotonic()):
                key = self._snapshots.current.find_key(digests)
        if key is None:
            raise Refusal("key_unknown", f"key {mask_key(credential)} is not found")
        return key

    def _digests(self, credential: str) -> tuple[bytes, ...]:
        """What the key may be stored under. Remembered by its SHA-256: the peppered step is most of the cost."""
        sha256 = key_sha256(credential)
        digests = self._remembered_digests.get(sha256)
        if digests is None:
            digests = tuple([peppered_digest(sha256, pepper) for pepper in self._peppers])
            if len(self._remembered_digests) >= REMEMBERED_DIGESTS:
                self._remembered_digests.clear()
            self._remembered_digests[sha256] = digests
        return digests

    def _priced_settings(
        self, endpoint: Endpoint, key: CompiledKey, call: Call, settings: tuple[CompiledSetting, ...], now_ms: int
    ) -> tuple[CompiledSetting, ...]:
        """Those at which the model's price allows the call; all of them where it does at none, so that one says why."""
        allowed: list[CompiledSetting] = []
        for setting in settings:
            with suppress(Refusal):
                self._price(endpoint, key, setting, call, now_ms)
                allowed.append(setting)
        return tuple(allowed) or settings

    def _price(
        self, endpoint: Endpoint, key: CompiledKey, setting: CompiledSetting, call: Call, now_ms: int
    ) -> Price | None:
        if endpoint.billing == "free":
            return None
        overrides = self._snapshots.current.overrides.catalog
        price = pricing.price_for(
            self._catalog, overrides, setting.provider, setting.cost_map, call.requested_model, now_ms
        )
        if price is None and setting.unpriced != "free" and (setting.unpriced == "refuse" or key.has_cost_limit):
            raise Refusal(
                "model_unpriced",
                f"the price of model {call.requested_model} is not known, so its cost cannot be limited: "
                "give it one with PUT /api/prices or in the setting's costMap, or set unpriced to free",
            )
        return price

    @staticmethod
    def _bounds(key: CompiledKey, price: Price | None, call: Call) -> Bounds | None:
        if price is None or not key.has_cost_limit:
            return None
        return pricing.bounds(
            price,
            call.prompt_bound,
            call.output_cap,
            call.choices,
            call.is_unbounded,
            call.service_tier,
            call.may_write_cache,
            call.least_output_cap,
        )

    @staticmethod
    def _output_cap(hold: Hold, price: Price | None, call: Call) -> int | None:
        if price is None or hold.kind != "clamped":
            return None
        return pricing.affordable_output(
            hold.held_nano, price, call.prompt_bound, call.choices, call.service_tier, call.may_write_cache
        )

    def _request(
        self, x: Exchange, match: Match, setting: CompiledSetting, headers: RequestHeaders, query: str, body: bytes
    ) -> UpstreamRequest:
        provider = PROVIDERS[match.endpoint.provider]
        is_stream = x.call is not None and x.call.is_stream
        base_url = setting.base_url or self._default_urls.get(provider.name)
        if base_url is None:
            raise Refusal("setting_unusable", "the provider setting has no url")
        return UpstreamRequest(
            method=match.endpoint.method,
            url=upstream_url(base_url, match.upstream_path) + query,
            headers=upstream_headers(
                headers,
                provider,
                setting.credential,
                x.request_id,
                key_id=x.key.id if x.key else "",
                has_body=bool(body),
            ),
            body=body,
            timeout_seconds=min(x.timeout_seconds or math.inf, self._timeout_seconds)
            if is_stream
            else self._timeout_seconds,
            is_stream=is_stream,
        )

    async def _answer(
        self,
        x: Exchange,
        down: Downstream,
        kind: str,
        message: str,
        retry_after: float | None,
        rate: RateState | None = None,
    ) -> None:
        """Our own answer, in the caller's dialect; the books are closed first, so that a retry finds them closed.

        Nothing can be answered once bytes of an answer have gone.
        """
        x.error_kind = kind
        if down.is_started:
            return
        dialect = x.endpoint.dialect if x.endpoint else endpoints.dialect_of(x.path)
        x.status, content_type, body = render_error(dialect, kind, message, x.request_id)
        self._books.finish(x)
        headers = refusal_headers(x.request_id, down.origin, retry_after, rate, dialect)
        await down.answer(x.status, [*content_type, *headers], body)
