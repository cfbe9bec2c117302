"""The first breath of every child of the launcher: a script that arranges a few things and becomes the real program.

    python -I -S guard.py PARENT SIGNAL IDENTITY PROGRAM ARGUMENT...

It ties the child's life to its parent's (the kernel sends SIGNAL when process PARENT ends, however that happens), and
takes on an identity for servers that refuse to be root. It imports nothing of ours, so it runs before any environment.
Exit code 71: the identity cannot be had here. 127: the program cannot be started.
"""

import ctypes
import os
import signal
import sys

NO_IDENTITY = 71
NO_PROGRAM = 127

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enter_namespace(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Become `uid` in a user namespace of our own: outside we stay who we are, so files need no new owner."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _checked(libc.unshare(_CLONE_NEWUSER))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def become_user(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Become `uid` for good, keeping one right of root's: to pass through folders that are closed to others.

    Without it the program, its data and its socket would have to move out of a private home folder.
    """
    _checked(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    bit = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; then their upper halves
    _checked(libc.capset(header, sets))
    _checked(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0))


def main(arguments: list[str]) -> None:
    """Never returns: becomes the program, or exits."""
    parent, death_signal, identity, *program = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    kind, _, ids = identity.partition(":")
    if kind != "same":
        uid, gid = (int(part) for part in ids.split(":"))
        try:
            {"namespace": enter_namespace, "user": become_user}[kind](libc, uid, gid)
        except (OSError, AttributeError) as error:  # AttributeError: a C library without these calls
            print(f"cannot become {identity}: {error}", file=sys.stderr)
            raise SystemExit(NO_IDENTITY) from None
    # After the change of identity, which would clear it. Linux only; elsewhere an orderly stop is all there is.
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != int(parent):
            raise SystemExit(0)  # it ended before we asked to be told
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # a background job starts with some of them ignored
    try:
        os.execv(program[0], program)  # noqa: S606 - no shell is the point
    except OSError as error:
        print(f"cannot start {program[0]}: {error.strerror}", file=sys.stderr)
        raise SystemExit(NO_PROGRAM) from None


if __name__ == "__main__":
    main(sys.argv[1:])
