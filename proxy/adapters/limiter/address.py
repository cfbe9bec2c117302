"""Where the limiter's Redis is, from the settings."""

from proxy.adapters.limiter.link import RedisAddress
from shared.settings import Settings
from shared.tls import redis_tls


def redis_address(settings: Settings) -> RedisAddress:
    """What the settings say. Raises SettingsError when a file of the TLS settings cannot be used."""
    return RedisAddress(
        hosts=tuple(
            host.name if host.is_path else (host.name, host.port or settings.redis_port)
            for host in settings.redis_hosts
        ),
        username=settings.redis_username,
        password=settings.redis_password,
        database=settings.redis_db_start_index,
        accept_seconds=settings.redis_write_time_out,
        answer_seconds=settings.redis_read_time_out,
        tls=redis_tls(settings),
    )
