"""The schema the planes meet in: `admin/schema.sql`, as it was for the first release. Never edit it once released."""

from pathlib import Path

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from admin.database import DB

ID = "2026-11-21T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "provider settings, keys, limits, events, spend, audit log"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="weir", description=DESCRIPTION)
    schema = (Path(__file__).parents[1] / "schema.sql").read_text(encoding="utf-8")

    async def run() -> None:
        await DB.run_script(schema)

    manager.add_raw(run)
    return manager
