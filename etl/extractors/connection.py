"""Connections to the server: the environment's proxy, and errors of requests without an answer.

Most of these errors pass, so the request is sent again. An error that only another setting can
cure is not retried.
"""

from __future__ import annotations

import functools
import ssl
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from etl import __version__
from etl.errors import ConfigurationError, SourceError, SourceUnavailable, words_of

# The server was not reached at all; in other failures the connection broke later.
NOT_REACHED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)

# In seconds. A server that is up accepts a connection sooner than this.
CONNECT_TIMEOUT_S = 20.0
# OpenSSL's names for an answer that is not TLS; they depend on its version.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
_CHECK_ADDRESS = "Check POSTHOG_HOST and the network"
_LONGEST_TEXT = 200


def proxy_of(address: URL) -> tuple[URL | None, aiohttp.BasicAuth | None]:
    """Return the proxy that the environment names for `address`, and its user and password.

    aiohttp's `trust_env` is not used: it would also read ~/.netrc and send a second authorization.
    Raises ConfigurationError if the proxy's address is wrong.
    """
    named = getproxies().get(address.scheme)
    if not named or proxy_bypass(f"{address.host}:{address.port}"):
        return None, None
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
    except ValueError:
        proxy = URL()
    if proxy.scheme != "http" or not proxy.host:
        raise ConfigurationError(
            f"{address.scheme.upper()}_PROXY does not name a proxy that speaks HTTP",
            remedy=f"Write it as http://proxy.example:3128, or name {address.host} in NO_PROXY",
        )
    return proxy.with_user(None), aiohttp.BasicAuth.from_url(proxy)


def open_session(
    host: str, key: str, timeout_s: float, ca_file: Path | None = None
) -> aiohttp.ClientSession:
    """Return the session that requests to `host` go through; the caller closes it.

    timeout_s: longest a request may take. ca_file: certificates to trust besides the system's.
    Raises ConfigurationError.
    """
    proxy, proxy_auth = proxy_of(URL(host))
    return aiohttp.ClientSession(
        headers={
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            "User-Agent": f"posthog-etl/{__version__}",
        },
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
        connector=connector_to(host, ca_file),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy,
        proxy_auth=proxy_auth,
    )


def connector_to(address: str, ca_file: Path | None) -> aiohttp.TCPConnector:
    """Return what connects to `address`; without TLS no certificates are read.

    Raises ConfigurationError.
    """
    needed = ca_file is not None or address.startswith("https:")
    return aiohttp.TCPConnector(ssl=trust(ca_file) if needed else True)


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return what certificates are verified with: those of the system, and those of `ca_file`.

    Never aiohttp's own context: a sync imports aiohttp without certificates.
    Raises ConfigurationError.
    """
    if ca_file is None:
        return _system_context()
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigurationError(
            f"POSTHOG_ETL_CA_FILE {ca_file} holds no certificates: {exc}"
        ) from exc
    return context


@functools.cache
def _system_context() -> ssl.SSLContext:
    """Return the context with the system's certificates. Reading them takes 40 ms."""
    return ssl.create_default_context()


def connection_error(exc: Exception, address: URL) -> SourceError:
    """Return our error for an error of aiohttp, raised instead of an answer from `address`.

    It holds neither a proxy's address with its password nor anything that was sent.
    """
    host = address.host or ""
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return SourceUnavailable(
            f"The proxy {exc.host}:{exc.port} cannot be reached: {_reason(exc.os_error)}",
            remedy=f"Check HTTPS_PROXY and HTTP_PROXY, or name {host} in NO_PROXY",
        )
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        kind = SourceError if 400 <= exc.status < 500 else SourceUnavailable
        return kind(
            f"The proxy does not lead to {host}: {exc.status} {exc.message}".rstrip(),
            remedy=f"Check HTTPS_PROXY, its user and password, or name {host} in NO_PROXY",
        )
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        why = getattr(exc.certificate_error, "verify_message", "") or "it does not fit"
        return SourceError(
            f"The certificate of {host} is not trusted: {why}",
            remedy="Set POSTHOG_ETL_CA_FILE if it is signed by your own authority",
        )
    if isinstance(exc, aiohttp.ClientConnectorSSLError):
        return _tls_error(exc.os_error, host)
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return SourceUnavailable(
            f"{host} cannot be reached: no answer in time",
            remedy="Check POSTHOG_HOST, and whether a firewall or proxy (HTTPS_PROXY) is between",
        )
    if isinstance(exc, TimeoutError):
        return SourceUnavailable(
            f"{host} did not answer in time",
            remedy="Raise POSTHOG_ETL_REQUEST_TIMEOUT_S, or lower POSTHOG_ETL_PAGE_SIZE_RECORDS",
        )
    if isinstance(exc, aiohttp.ClientConnectorError):
        return SourceUnavailable(
            f"{host} cannot be reached: {_reason(exc.os_error)}", remedy=_CHECK_ADDRESS
        )
    if isinstance(exc, aiohttp.ClientResponseError):
        return SourceUnavailable(
            f"{host} does not answer in HTTP",
            remedy="Check POSTHOG_HOST: its port, and whether it should begin with https://",
        )
    return SourceUnavailable(
        f"The connection to {host} broke off: {_reason(exc)}",
        remedy="Check POSTHOG_HOST: a server that speaks TLS needs https://"
        if address.scheme == "http"
        else _CHECK_ADDRESS,
    )


def _tls_error(exc: OSError, host: str) -> SourceError:
    reason = getattr(exc, "reason", None) or _reason(exc)
    if isinstance(exc, ssl.SSLError) and reason in _NOT_TLS:
        return SourceError(
            f"{host} does not speak TLS on this port",
            remedy="Correct the port in POSTHOG_HOST, or write http:// if TLS is not wanted",
        )
    return SourceUnavailable(f"No TLS with {host}: {reason}", remedy=_CHECK_ADDRESS)


def _reason(exc: BaseException) -> str:
    return words_of(exc)[:_LONGEST_TEXT] or type(exc).__name__
