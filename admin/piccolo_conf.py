"""Where piccolo's command line finds the engine and the app: `PICCOLO_CONF=admin.piccolo_conf piccolo ...`."""

from piccolo.conf.apps import AppRegistry

from admin.database import DB

__all__ = ["APP_REGISTRY", "DB"]

APP_REGISTRY = AppRegistry(apps=["admin.piccolo_app"])
