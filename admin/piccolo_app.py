"""Weir as a piccolo app: its tables and its migrations."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

MIGRATIONS = Path(__file__).parent / "piccolo_migrations"

# No table classes: migrations are written in SQL, so piccolo has nothing to compare and nothing to guess.
APP_CONFIG = AppConfig(app_name="weir", migrations_folder_path=str(MIGRATIONS))
