"""Log lines, as a process really writes them: one JSON object each, whatever is in it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]


def run(code: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What a fresh process that runs `code` after `configure("proxy")` writes to stdout and to stderr."""
    program = f"import logging, io, structlog\nfrom shared import log\nlog.configure('proxy')\n{code}\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()], [
        msgspec.json.decode(line) for line in done.stderr.splitlines()
    ]


def test_a_line_is_one_json_object_with_event_level_time_and_plane() -> None:
    [line], rest = run("structlog.get_logger().info('request', status=200, cost_nano=2**60, none=None, list=[1])")
    timestamp = line.pop("timestamp")

    assert line == {
        "event": "request", "level": "info", "plane": "proxy", "status": 200, "cost_nano": 2**60, "none": None,
        "list": [1],
    }  # fmt: skip
    assert timestamp.endswith("Z")
    assert rest == []


def test_debug_lines_are_not_written() -> None:
    assert run("structlog.get_logger().debug('noise')") == ([], [])


def test_an_exception_is_told_with_its_traceback_in_the_same_line() -> None:
    [line], _ = run("try:\n 1 / 0\nexcept ZeroDivisionError:\n structlog.get_logger().exception('bug')")

    assert line["level"] == "error"
    assert "ZeroDivisionError: division by zero" in line["exception"]


def test_a_value_json_has_no_form_for_is_written_as_its_text() -> None:
    [line], _ = run("from pathlib import Path\nstructlog.get_logger().info('x', path=Path('/a'), kind=ValueError('v'))")

    assert (line["path"], line["kind"]) == ("/a", "v")


def test_text_that_is_not_unicode_is_escaped_and_neither_lost_nor_raised() -> None:
    [first, second], _ = run(
        "log = structlog.get_logger()\nlog.info('x', path='/a\\udcff', status=404)\nlog.info('y', line='two\\nlines')"
    )

    assert first["path"] == "/a\\udcff"
    assert first["event"] == "x"
    assert second["line"] == "two\nlines"


def test_lines_go_to_the_stream_that_was_given() -> None:
    [line], _ = run(
        "stream = io.BytesIO()\nlog.configure('admin', stream)\nstructlog.get_logger().info('x')\n"
        "import sys\nsys.stdout.write(stream.getvalue().decode())"
    )

    assert (line["event"], line["plane"]) == ("x", "admin")


def test_the_standard_librarys_warnings_come_the_same_way_on_stderr_and_its_chatter_does_not() -> None:
    lines, warnings = run("log = logging.getLogger('asyncpg')\nlog.info('chatter')\nlog.warning('slow %s', 'query')")
    [warning] = warnings

    assert lines == []
    assert (warning["event"], warning["level"], warning["logger"], warning["plane"]) == (
        "slow query",
        "warning",
        "asyncpg",
        "proxy",
    )


def test_an_exception_of_the_standard_librarys_log_is_one_line_too() -> None:
    _, [line] = run("try:\n 1 / 0\nexcept ZeroDivisionError:\n logging.getLogger('x').exception('broken')")

    assert line["event"] == "broken"
    assert "ZeroDivisionError" in line["exception"]
