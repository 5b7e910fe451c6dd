"""Whether a database holds the data of this server, by the addresses it was loaded from."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from yarl import URL

from etl.errors import ConfigurationError


def refuse_other_source(host: str, known: Sequence[str]) -> str | None:
    """Raise ConfigurationError when the database holds the data of another server.

    Two servers number their projects alike, so one would overwrite and delete the other's rows.
    What listens on a port of this very machine may have moved there, as test servers do: then a
    warning is returned that names both addresses. None when there is no doubt.
    """
    names = [URL(each).host or "" for each in (host, *known)]
    if not known or host in known:
        return None
    if all(map(is_own_machine, names)):
        if URL(host).port in [URL(each).port for each in known]:
            return None  # the same server under another name of this machine
        return (
            f"This database holds data of {known[-1]}, and POSTHOG_HOST is {host}: taken for the "
            "same server, because both are this machine. If it is another one, set "
            "POSTHOG_ETL_SCHEMA to another name"
        )
    raise ConfigurationError(
        f"This database holds data of {known[-1]}, and POSTHOG_HOST is {host}",
        remedy="Set POSTHOG_ETL_SCHEMA to another name for another server; if it is the same one "
        "under another address, run `posthog-etl sync --accept-host` once",
    )


def is_own_machine(host: str) -> bool:
    """Tell whether what listens on `host` is asked by this very machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
