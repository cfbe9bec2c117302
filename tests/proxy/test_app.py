"""What the composition root decides by itself: which addresses are Weir's own."""

from pathlib import Path

import pytest

from proxy.adapters.destinations import Destinations
from proxy.app import own_addresses
from proxy.core.destinations import DestinationError
from shared.settings import load

ENVIRON = {"UPSTREAM_ALLOWED_NETWORKS": "127.0.0.0/8"}


def destinations(tmp_path: Path, **environ: str) -> Destinations:
    settings = load({**ENVIRON, **environ}, tmp_path)
    return Destinations(settings.upstream_allowed_networks, own_addresses(settings))


@pytest.mark.parametrize("port", [8002, 8001, 2112], ids=["proxy", "admin", "metrics"])
def test_weir_s_own_ports_are_no_upstream(tmp_path: Path, port: int) -> None:
    """Not even when loopback is allowed; every other port there is."""
    own = destinations(tmp_path)
    with pytest.raises(DestinationError, match="Weir itself"):
        own.parse(f"http://127.0.0.1:{port}/v1/models")
    assert own.parse("http://127.0.0.1:8003/v1/models").port == 8003


@pytest.mark.parametrize("address", ["localhost", "0.0.0.0"])
@pytest.mark.parametrize(
    ("address_name", "port_name"),
    [
        ("WEIR_PROXY_ADDRESS", "WEIR_PROXY_PORT"),
        ("WEIR_ADMIN_ADDRESS", "WEIR_ADMIN_PORT"),
        ("WEIR_METRICS_ADDRESS", "PROMETHEUS_PORT"),
    ],
)
def test_they_follow_the_settings(tmp_path: Path, address_name: str, port_name: str, address: str) -> None:
    """A name, or every address, means any address of this machine."""
    own = destinations(tmp_path, **{address_name: address, port_name: "9999"})
    with pytest.raises(DestinationError, match="Weir itself"):
        own.parse("http://127.0.0.7:9999/")


def test_a_metrics_port_that_is_not_served_is_not_ours(tmp_path: Path) -> None:
    """Whatever listens there then is somebody else."""
    own = destinations(tmp_path, PROMETHEUS_ENABLED="false")
    assert own.parse("http://127.0.0.1:2112/").port == 2112
