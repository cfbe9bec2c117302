"""`python -m proxy`: check the settings, then serve the data plane with granian until told to stop."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from proxy.adapters.listening import ListenError, check_listening
from proxy.adapters.process import make_supervisor, run_folder
from shared.catalog import CatalogError, load_catalog
from shared.settings import Settings, SettingsError, load
from shared.tls import postgresql_tls, redis_tls

DESCRIPTION = """Weir's data plane: the port that SDK clients use.

Settings come from CONFIG_FILE_NAME, the environment and .env; the README lists them. SIGTERM drains: the proxy is
not ready at once, accepts for DRAIN_NOTICE, lets open streams end for DRAIN_TIMEOUT, ships its journal, exits 0.
A second signal ends it now. Exit codes: 0 stopped, 1 a worker could not start, 2 a wrong setting."""


class StartError(Exception):
    """The proxy cannot start here. One line, for a person."""


def prepare_folders(settings: Settings) -> Path:
    """The run folder, emptied; the journal folder, kept."""
    data = Path(settings.weir_data_dir)
    run_dir = run_folder(data, settings.weir_proxy_port)
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / "journal").mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(run_dir, ignore_errors=True)
        (run_dir / "metrics").mkdir(parents=True)
    except OSError as error:
        raise StartError(f"WEIR_DATA_DIR: cannot write to {data}: {error.strerror}") from None
    return run_dir


def load_with(privacy: str | None) -> Settings:
    """The settings, as every worker will load them, and the choice made on the command line. Raises SettingsError."""
    if privacy is not None:
        os.environ["WEIR_PRIVACY"] = privacy
    settings = load()
    if privacy not in (None, settings.weir_privacy):  # the file goes before the environment
        raise SettingsError(f"WEIR_PRIVACY: -p says {privacy}, the file of settings {settings.weir_privacy}")
    postgresql_tls(settings)
    redis_tls(settings)
    return settings


def main(arguments: list[str] | None = None) -> int:
    """Serve. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m proxy", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-p",
        "--privacy",
        choices=("strict", "verbose"),
        help="WEIR_PRIVACY: `strict` (the default) keeps the text of requests and answers out of the log",
    )
    privacy = parser.parse_args(arguments).privacy
    try:
        settings = load_with(privacy)
        if settings.weir_master_key is None:
            raise SettingsError("WEIR_MASTER_KEY: must be set, to the same value as in the admin plane")
        address = check_listening(
            "WEIR_PROXY_ADDRESS", settings.weir_proxy_address, "WEIR_PROXY_PORT", settings.weir_proxy_port
        )
        if settings.prometheus_enabled:
            check_listening(
                "WEIR_METRICS_ADDRESS", settings.weir_metrics_address, "PROMETHEUS_PORT", settings.prometheus_port
            )
        run_dir = prepare_folders(settings)
        load_catalog(override_path=settings.weir_model_catalog)
    except (SettingsError, ListenError, StartError, CatalogError) as error:
        print(f"weir: {error}", file=sys.stderr)
        return 2
    # Before anything imports prometheus_client: it decides at import where counters live.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(run_dir / "metrics")
    make_supervisor(
        target="proxy.app:create_app",
        address=address,
        port=settings.weir_proxy_port,
        workers=settings.weir_proxy_workers,
        run_dir=run_dir,
        drain_notice=settings.drain_notice,
        drain_timeout=settings.drain_timeout,
    ).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
