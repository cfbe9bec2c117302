"""A launcher of servers only, for tests that kill it: `python -m tests.deploy.launcher FOLDER [IDENTITY]`.

It tells the two servers' process ids on one line, then waits until it is stopped or killed.
"""

import signal
import sys
from pathlib import Path

from deploy.local.folder import Folder
from deploy.local.postgres import Postgres
from deploy.local.valkey import Valkey

if __name__ == "__main__":
    folder = Folder(Path(sys.argv[1]))
    sockets = folder.sockets()
    postgres = Postgres(
        folder.path / "postgres",
        sockets,
        folder.path / "logs" / "postgres.log",
        folder.secret("passwords/postgres", lambda: "a-password"),
        identity=sys.argv[2] if len(sys.argv) > 2 else None,
        lock=folder.lock,
    )
    postgres.start()
    valkey = Valkey(folder.path / "valkey", sockets, folder.path / "logs" / "valkey.log", lock=folder.lock)
    valkey.start()
    print(postgres.child.pid, valkey.child.pid, flush=True)
    signal.sigwait([signal.SIGTERM])
