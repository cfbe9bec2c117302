"""The programs of a bench: nginx as upstream and as reverse proxy, the baseline; pinned to cores, measured by /proc."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
LOAD_CORE, PROXY_CORE = 0, 1
TICK = os.sysconf("SC_CLK_TCK")
EVENTS = 52

ANSWER = msgspec.json.encode(
    {
        "id": "chatcmpl-bench", "object": "chat.completion", "created": 1700000000, "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Water finds its way. " * 10,
                                             "refusal": None}, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70,
                  "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                  "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0}},
        "service_tier": "default", "system_fingerprint": "fp_bench",
    }
)  # fmt: skip


def stream_answer() -> bytes:
    """52 events as OpenAI streams them, usage included."""
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1700000000,
            "model": "gpt-4o-2024-08-06", "service_tier": "default", "system_fingerprint": "fp_bench"}  # fmt: skip

    def frame(**more: object) -> bytes:
        return b"data: " + msgspec.json.encode({**head, **more}) + b"\n\n"

    def delta(**delta: object) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return frame(choices=[choice], usage=None)

    frames = [delta(role="assistant", content="")]
    frames += [delta(content=" word") for _ in range(EVENTS - 3)]
    frames.append(frame(choices=[], usage={"prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70}))
    return b"".join(frames) + b"data: [DONE]\n\n"


def find(program: str) -> str | None:
    """Where a program is; Debian keeps some of them off an ordinary user's PATH."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def pin(pid: int, core: int) -> None:
    """Keep a process, its threads and its children on one core."""
    for member in family(pid):
        for thread in Path(f"/proc/{member}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += family(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and everything below it, all threads."""
    total = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rsplit(") ", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def rss_bytes(pid: int) -> int:
    """Resident memory of a process and everything below it, shared pages counted once (PSS)."""
    total = 0
    for member in family(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


class Program:
    """A server of the bench on a port of its own."""

    def __init__(self, name: str, command: list[str], port: int, core: int, log: Path) -> None:
        self.name, self.port = name, port
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"bench: {name} did not start: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.05)
        time.sleep(0.3)
        pin(self.pid, core)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _nginx(name: str, folder: Path, port: int, core: int, server: str) -> Program:
    home = folder / name
    for part in ("client", "proxy", "fastcgi", "uwsgi", "scgi"):
        (home / part).mkdir(parents=True)
    config = home / "nginx.conf"
    user = "user root; " if os.geteuid() == 0 else ""
    config.write_text(
        f"{user}daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;\n"
        "events { worker_connections 8192; }\n"
        "http { access_log off; keepalive_requests 100000000; keepalive_timeout 300s; client_max_body_size 64m;\n"
        f"client_body_temp_path {home}/client; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;\n"
        f"uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;\n{server}\n}}\n"
    )
    program = find("nginx")
    assert program is not None
    return Program(name, [program, "-e", f"{home}/error.log", "-c", str(config)], port, core, home / "log")


def start_upstream(folder: Path) -> Program:
    """nginx answering a chat completion, and below /sse the same streamed."""
    port = free_port()
    files = folder / "answers"
    files.mkdir()
    (files / "plain").write_bytes(ANSWER)
    (files / "sse").write_bytes(stream_answer())
    # nginx does not POST to files: it answers 405, and that answer is the file (the redirect is internal, a GET).
    return _nginx("upstream", folder, port, LOAD_CORE, (
        f"open_file_cache max=10 inactive=1h; server {{ listen 127.0.0.1:{port} backlog=4096; root {folder};\n"
        "location = /answers/sse { internal; default_type text/event-stream; }\n"
        "location = /answers/plain { internal; default_type application/json; }\n"
        "location /sse { error_page 405 =200 /answers/sse; return 405; }\n"
        "location / { error_page 405 =200 /answers/plain; return 405; } }"
    ))  # fmt: skip


def start_nginx_proxy(folder: Path, upstream: int) -> Program:
    """nginx as a reverse proxy with keep-alive, streams unbuffered."""
    port = free_port()
    return _nginx("nginx", folder, port, PROXY_CORE, (
        f"upstream u {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://u; "
        'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } }'
    ))  # fmt: skip


def start_baseline(folder: Path, upstream: int) -> Program:
    """Starlette + ClientSession."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.baseline", str(port), f"http://127.0.0.1:{upstream}"]
    return Program("baseline", command, port, PROXY_CORE, folder / "baseline.log")
