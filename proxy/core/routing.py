"""In which order a key's settings are tried for a call. Pure: time and chance are given.

The operator's order, or a random one (KeyDetail.rotation, contract §4.5; a setting is used as a whole: credential, URL
and region). A setting whose credential upstream refused is put aside, one whose rate is used up rests: both come last,
never nowhere, so a key with one setting is served as if nothing were remembered.
"""

from collections.abc import Callable, Mapping
from random import Random

import msgspec

from proxy.core.snapshot import CompiledSetting
from proxy.core.upstream_refusals import MOST_SECONDS, UpstreamRefusal, read_refusal
from proxy.providers import classify

MOST_SLEEPERS = 10_000
# The one call that tries a setting that was put aside has so long to show how it went; then the next one may.
PROBE_SECONDS = 30.0
# What is remembered of a model's name: names are the callers'.
_LONGEST_SUBJECT = 200
_MOST_MS = int(MOST_SECONDS * 1000)
_PROBE_MS = int(PROBE_SECONDS * 1000)

Settings = tuple[CompiledSetting, ...]


class SettingPutAside(msgspec.Struct, frozen=True, gc=False):
    """Upstream refused the credential of a setting: it is the last choice until its row changes or a call tries it."""

    setting_id: str
    provider: str
    subject: str
    """The model or path it was refused for; empty: for everything."""
    status: int
    seconds: float


class SettingRested(msgspec.Struct, frozen=True, gc=False):
    """Upstream said that a setting has used up its rate or its money."""

    setting_id: str
    provider: str
    subject: str
    status: int
    seconds: float


class SettingRecovered(msgspec.Struct, frozen=True, gc=False):
    """A setting that was put aside works again."""

    setting_id: str
    provider: str
    subject: str


SettingChange = SettingPutAside | SettingRested | SettingRecovered


def moves_on(status: int) -> bool:
    """True: upstream refused the credential or its rate and did nothing, so another setting may be sent the same."""
    return classify(status) in ("credential", "rate")


class _Sleeper(msgspec.Struct, gc=False):
    setting: CompiledSetting
    refusal: UpstreamRefusal
    wakes_ms: int


class Rests:
    """What one worker remembers of settings that upstream refused. `now_ms` is the wall clock's throughout."""

    def __init__(self, shuffle: Callable[[list[CompiledSetting]], None] = Random().shuffle) -> None:  # noqa: S311, B008 - no secret hangs on it; one for all is meant
        self._shuffle = shuffle
        # By setting and subject, "" standing for all subjects; in the order of their last refusal.
        self._sleepers: dict[tuple[str, str], _Sleeper] = {}

    def __len__(self) -> int:
        return len(self._sleepers)

    def plan(self, settings: Settings, subject: str, is_rotated: bool, now_ms: int) -> Settings:
        """The settings that may serve a call, in the order to try them; never fewer than were given.

        `subject` is the model, or the endpoint's template for a call without one. Whoever is first and was put aside
        is being tried by this call: others stay away from it until that has shown something.
        """
        if len(settings) < 2:
            return settings
        if is_rotated:
            shuffled = list(settings)
            self._shuffle(shuffled)
            settings = tuple(shuffled)
        if not self._sleepers:
            return settings
        subject = subject[:_LONGEST_SUBJECT]
        awake: list[CompiledSetting] = []
        asleep: list[tuple[int, CompiledSetting]] = []
        for setting in settings:
            wakes_ms = self._wakes_ms(setting, subject, now_ms)
            if wakes_ms > now_ms:
                asleep.append((wakes_ms, setting))
            else:
                awake.append(setting)
        asleep.sort(key=lambda entry: entry[0])  # stable: of equals the first of the plan
        ordered = (*awake, *[setting for _, setting in asleep])
        self._begin_probe(ordered[0], subject, now_ms)
        return ordered

    def next_after(self, plan: Settings, tried: int, subject: str, now_ms: int) -> int | None:
        """Where in a plan to go after `tried` settings of it refused (see `moves_on`); None: give the caller what came.

        Only to one that is not known to refuse: of several that rest, a call tries one.
        """
        subject = subject[:_LONGEST_SUBJECT]
        for place in range(tried, len(plan)):
            if self._wakes_ms(plan[place], subject, now_ms) <= now_ms:
                return place
        return None

    def note(
        self,
        setting: CompiledSetting,
        subject: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        now_ms: int,
        *,
        is_steered: bool = False,
    ) -> SettingChange | None:
        """What upstream answered. Something to tell, or None; `body` only matters for statuses that `moves_on`.

        `is_steered`: headers of the caller's own choose among what the credential may use (an organization, a
        project), so a refusal may be about them. A caller must not be able to put a setting aside for everybody.
        """
        if 200 <= status < 300:
            return self._recovered(setting, subject[:_LONGEST_SUBJECT]) if self._sleepers else None
        refusal = read_refusal(status, headers, body, now_ms)
        if refusal is None or (is_steered and refusal.kind == "credential"):
            return None
        return self._refused(setting, "" if refusal.is_whole else subject[:_LONGEST_SUBJECT], status, refusal, now_ms)

    def _refused(
        self, setting: CompiledSetting, subject: str, status: int, refusal: UpstreamRefusal, now_ms: int
    ) -> SettingChange | None:
        name = (setting.id, subject)
        known = self._sleepers.pop(name, None)
        wakes_ms = now_ms + int(refusal.seconds * 1000)
        is_told = False
        if known is not None and known.refusal.kind == refusal.kind and _is_same(known, setting):
            is_told = now_ms < known.wakes_ms <= now_ms + _MOST_MS
            if is_told:
                wakes_ms = max(wakes_ms, known.wakes_ms)  # a later, shorter wait does not end a longer one
        self._sleepers[name] = _Sleeper(setting, refusal, wakes_ms)
        if len(self._sleepers) > MOST_SLEEPERS:
            self._drop_some(now_ms)
        if is_told:
            return None
        tell = SettingPutAside if refusal.kind == "credential" else SettingRested
        shown = subject.encode("ascii", "backslashreplace").decode()  # of a caller's name nothing breaks a log
        return tell(setting.id, setting.provider, shown, status, refusal.seconds)

    def _recovered(self, setting: CompiledSetting, subject: str) -> SettingRecovered | None:
        """A success ends what was held against the credential. A rate's rest ends by itself: a call that was under way
        when it began says nothing.
        """
        told: SettingRecovered | None = None
        for name in ((setting.id, ""), (setting.id, subject)):
            sleeper = self._sleepers.get(name)
            if sleeper is not None and sleeper.refusal.kind == "credential":
                del self._sleepers[name]
                shown = name[1].encode("ascii", "backslashreplace").decode()
                told = told or SettingRecovered(setting.id, setting.provider, shown)
        return told

    def _wakes_ms(self, setting: CompiledSetting, subject: str, now_ms: int) -> int:
        """When the setting may be tried again for this; the past or 0: now."""
        latest = 0
        for name in ((setting.id, ""), (setting.id, subject)):
            sleeper = self._sleepers.get(name)
            if sleeper is None:
                continue
            has_woken = not now_ms < sleeper.wakes_ms <= now_ms + _MOST_MS  # a clock that was set back ends it too
            if not _is_same(sleeper, setting) or (has_woken and sleeper.refusal.kind == "rate"):
                del self._sleepers[name]
            elif not has_woken:
                latest = max(latest, sleeper.wakes_ms)
        return latest

    def _begin_probe(self, setting: CompiledSetting, subject: str, now_ms: int) -> None:
        for name in ((setting.id, ""), (setting.id, subject)):
            sleeper = self._sleepers.get(name)
            if sleeper is not None and sleeper.refusal.kind == "credential" and sleeper.wakes_ms <= now_ms:
                sleeper.wakes_ms = now_ms + _PROBE_MS

    def _drop_some(self, now_ms: int) -> None:
        """Forget those that have woken, and the older half of the rest if they are not many."""
        for name in [name for name, sleeper in self._sleepers.items() if sleeper.wakes_ms <= now_ms]:
            del self._sleepers[name]
        if len(self._sleepers) > MOST_SLEEPERS // 2:
            for name in list(self._sleepers)[: len(self._sleepers) - MOST_SLEEPERS // 2]:
                del self._sleepers[name]


def _is_same(sleeper: _Sleeper, setting: CompiledSetting) -> bool:
    """The row has not changed since. A reload compiles it anew: equal is the same, and is remembered as such."""
    if sleeper.setting is setting:
        return True
    if sleeper.setting != setting:
        return False
    sleeper.setting = setting
    return True
