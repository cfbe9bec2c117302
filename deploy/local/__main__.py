"""`python -m deploy.local`: run the stack until Ctrl-C or SIGTERM; a second one ends it at once.

Whatever goes wrong is one line on stderr and exit code 1 (2: a setting), and nothing is left running.
"""

import ctypes
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from deploy.local.child import LaunchError
from deploy.local.welcome import welcome

if TYPE_CHECKING:
    from deploy.local.stack import Stack

_PR_SET_PDEATHSIG = 1
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """The user asked us to stop. Not an Exception: nothing on the way out may swallow it."""


class _StopRequests:
    """The first request leaves whatever runs by `_Stopped`; the second ends everything where it stands."""

    def __init__(self) -> None:
        self.stack: Stack | None = None
        self._is_stopping = False
        for number in _STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            raise _Stopped
        if self.stack is not None:
            self.stack.kill()
        os._exit(130)

    def refuse_more(self) -> None:
        """From now on every request is the second: we stop already."""
        self._is_stopping = True


def _say(text: str) -> None:
    print(text, flush=True)


def _run(requests: _StopRequests) -> int:
    try:
        # Half of a second passes in these imports; Ctrl-C is heard by now.
        from deploy.local.stack import Stack, base_url  # noqa: PLC0415
        from shared.settings import SettingsError  # noqa: PLC0415
    except _Stopped:
        return 0
    try:
        stack = requests.stack = Stack(os.environ)
    except SettingsError as error:
        print(f"weir: {error}", file=sys.stderr)
        return 2
    except _Stopped:
        return 0
    code = 0
    try:
        stack.start()
        settings = stack.settings
        _say(
            welcome(
                base_url(settings.weir_proxy_address, settings.weir_proxy_port),
                base_url(settings.weir_admin_address, settings.weir_admin_port),
                stack.folder_path,
                stack.has_admin_pass,
            )
        )
        stack.watch()
    except _Stopped:
        _say("\nStopping; calls in flight may finish. Ctrl-C again ends everything at once.")
    except (LaunchError, SettingsError) as error:
        requests.refuse_more()
        print(f"weir: {error}", file=sys.stderr, flush=True)
        code = 2 if isinstance(error, SettingsError) else 1
    except OSError as error:
        requests.refuse_more()
        print(f"weir: {error.filename or 'the system'}: {error.strerror}", file=sys.stderr, flush=True)
        code = 1
    finally:
        requests.refuse_more()
        stack.stop()
    return code


def main() -> int:
    """Run until stopped; returns the exit code."""
    if "--follow-parent" in sys.argv[1:] and sys.platform == "linux":
        # Under make: what kills make with SIGKILL must not leave the stack behind.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    return _run(_StopRequests())


if __name__ == "__main__":
    sys.exit(main())
