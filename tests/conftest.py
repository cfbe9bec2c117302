"""What holds for every test: servers of our own, nothing of the developer's environment, an empty working folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from shared.settings import BY_NAME
from tests.servers import database, postgres, server_folder, valkey

__all__ = ["database", "postgres", "server_folder", "valkey"]

ROOT = Path(__file__).parent.parent

# A slow or busy machine is no failure; on a fresh one the first text alone takes a second (tables of Unicode).
settings.register_profile("weir", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("weir")

for _name in [name for name in os.environ if name in BY_NAME or name.startswith("WEIR_")]:
    del os.environ[_name]
os.environ["PYTHONPATH"] = str(ROOT)  # for planes that tests start: the working folder is not the tree's


@pytest.fixture(scope="session", autouse=True)
def _empty_working_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A developer's `.env` and `.weir` lie in the tree; no test may read or write them by accident."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("work"))
    yield
    os.chdir(before)
