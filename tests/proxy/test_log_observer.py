"""The proxy's log lines, as a process really writes them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from proxy.adapters.log_observer import LOG_LINES
from tests.servers import clean_environ

ROOT = Path(__file__).parents[2]
PREAMBLE = """
from proxy import observations as seen
from proxy.adapters.log_observer import JoinedWrites, LogObserver
from shared import log
from shared.events import Event
lines = JoinedWrites()
log.configure("proxy", lines)
observe = LogObserver("host-7-abc", lines)
"""
EVENT = """
event = Event(
    id="attempt", request_id="request", admitted_at=1_700_000_000_000_000, ended_at=1_700_000_001_250_000,
    outcome="cut", status=200, error_kind="upstream_cut", key_id="key", setting_id="setting", provider="openai",
    endpoint="/api/providers/openai/v1/chat/completions", method="POST", path="/path", requested_model="gpt-4o",
    is_stream=True, metadata="of the caller", input_tokens=1, cached_input_tokens=2, cache_write_5m_tokens=4,
    cache_write_1h_tokens=8, audio_input_tokens=16, output_tokens=32, reasoning_tokens=64, audio_output_tokens=128,
    list_cost_nano=5, charged_cost_nano=6, is_estimated=True, latency_us=70, overhead_us=8, time_to_first_token_us=9,
    user_id="person", worker="host-7-abc",
)
"""
SAMPLES = """
for observation in (
    seen.SnapshotSwapped(changed_rows=1, rejected_rows=0, keys=2, is_full=True, seconds=0.5),
    seen.SnapshotFailed(error="gone", age_seconds=float("inf")),
    seen.RecordRejected(kind="key", id="k", error="bad \\udcff"),
    seen.LimiterChanged(state="away", detail="timeout"),
    seen.CountersRebuilt(account_id="default", counters=3, seconds=0.1),
    seen.DriftFound(key_id="k", redis_nano=1, postgres_nano=2**62),
    seen.EventsShipped(events=1, fresh=1, seconds=0.1),
    seen.ShippingFailed(error="gone", waiting_events=4),
    seen.EventsLost(events=1, why="disk"),
    seen.JournalAdopted(worker="w", recovered=1, closed=2),
    seen.SettingPutAside(setting_id="s", provider="p", subject="", status=401, seconds=300.0),
    seen.SettingRested(setting_id="s", provider="p", subject="m", status=429, seconds=1.5),
    seen.SettingRecovered(setting_id="s", provider="p", subject=""),
    seen.VocabularyMissing(vocabulary="v", error="gone"),
    seen.ObjectsRestored(account_id="default", objects=2, seconds=0.1),
    seen.ObjectsUnrestored(account_id="default", error="gone"),
    seen.RequestFinished(event=event, is_recorded=True),
):
    observe(observation)
    told.add(type(observation).__name__)
try:
    1 / 0
except ZeroDivisionError as error:
    observe(seen.BugFound(where="gateway", error=error))
    told.add("BugFound")
"""


def run(code: str) -> list[dict[str, Any]]:
    """The lines of a fresh process that runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + EVENT + code], cwd=ROOT, capture_output=True, check=False, env=clean_environ()
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]


def test_the_line_of_a_request() -> None:
    """Named as in the event; what the caller wrote of its own is not in it."""
    [line] = run("observe(seen.RequestFinished(event=event, is_recorded=True))")
    assert line == {
        "event": "request",
        "request_id": "request",
        "attempt_id": "attempt",
        "key_id": "key",
        "method": "POST",
        "endpoint": "/api/providers/openai/v1/chat/completions",
        "status": 200,
        "outcome": "cut",
        "error_kind": "upstream_cut",
        "provider": "openai",
        "requested_model": "gpt-4o",
        "is_stream": True,
        "is_estimated": True,
        "prompt_tokens": 1 + 2 + 4 + 8 + 16,
        "completion_tokens": 32 + 64 + 128,
        "charged_cost_nano": 6,
        "latency_us": 70,
        "overhead_us": 8,
        "time_to_first_token_us": 9,
        "worker": "host-7-abc",
        "level": "info",
        "timestamp": "2023-11-14T22:13:21.250000Z",
        "plane": "proxy",
    }


TEXTS = "event.request, event.response = b'my secret prompt', b'an answer \\xff'\n"
FINISHED = "(seen.RequestFinished(event=event, is_recorded=True))"


def test_no_text_of_a_request_is_in_its_line() -> None:
    """Whatever the event keeps: that is for whoever may read events."""
    [line] = run(f"{TEXTS}observe{FINISHED}")
    assert not {"request", "response"} & set(line)
    assert "secret" not in str(line)


def test_verbose_has_what_the_event_keeps() -> None:
    """As text, whatever it is; nothing where it keeps nothing."""
    nothing, line = run(
        f"observe = LogObserver('host-7-abc', lines, with_text=True)\nobserve{FINISHED}\n{TEXTS}observe{FINISHED}"
    )
    assert not {"request", "response"} & set(nothing)
    assert (line["request"], line["response"]) == ("my secret prompt", "an answer \ufffd")


def test_a_name_that_is_not_unicode_is_told_all_the_same() -> None:
    """A lone surrogate, which JSON lets a caller put into a model's name, neither raises nor spoils the next line."""
    first, second = run(
        "event.requested_model = 'gpt\\udcff'\nobserve(seen.RequestFinished(event=event, is_recorded=True))\n"
        "event.requested_model = 'gpt-4o'\nobserve(seen.RequestFinished(event=event, is_recorded=True))"
    )
    assert first["requested_model"] == r"'gpt\udcff'"
    assert second["requested_model"] == "gpt-4o"
    assert first["request_id"] == second["request_id"] == "request"


def test_every_row_renders() -> None:
    """One JSON line each, with the row's level and name, the worker and the observation's fields."""
    code = f"told = set()\n{SAMPLES}\nimport sys\nprint(sorted(told), file=sys.stdout, flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + EVENT + code], cwd=ROOT, capture_output=True, check=True, env=clean_environ()
    )
    *written, told = done.stdout.decode().splitlines()
    assert told == str(sorted(kind.__name__ for kind in LOG_LINES))

    lines = {line["event"]: line for line in map(msgspec.json.decode, written)}
    rows = {row[1]: row[0] for row in LOG_LINES.values() if row is not None}
    assert set(lines) == {*rows, "request"}
    assert len(written) == len(lines)
    for event, level in rows.items():
        assert (lines[event]["level"], lines[event]["worker"], lines[event]["plane"]) == (level, "host-7-abc", "proxy")
    assert "ZeroDivisionError" in lines["bug"]["exception"]
    assert lines["spend_drift"]["postgres_nano"] in (2**62, str(2**62))
    assert lines["record_rejected"]["error"] == "bad \\udcff"
    assert lines["limiter_changed"]["state"] == "away"
