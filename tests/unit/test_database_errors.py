"""What goes wrong with the database is told in our words, or in those of Postgres."""

import ssl

import asyncpg
import pytest
import sqlalchemy.exc
from sqlalchemy.pool import QueuePool

from etl.errors import DestinationUnavailable
from etl.loaders.database import translate


def of_the_pool() -> Exception:
    """What SQLAlchemy's pool says when it has no connection left."""
    pool = QueuePool(object, pool_size=1, max_overflow=0, timeout=0)
    kept = pool.connect()
    with pytest.raises(sqlalchemy.exc.TimeoutError) as caught:
        pool.connect()
    kept.detach()
    return caught.value


def of_tls() -> Exception:
    """What OpenSSL says of a file that is no certificate."""
    with pytest.raises(ssl.SSLError) as caught:
        ssl.create_default_context().load_verify_locations(cadata=" ")
    return caught.value


INNER = {
    "closed": asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of it"),
    "busy": asyncpg.InterfaceError("cannot perform operation: another one is in progress"),
    "protocol": asyncpg.ProtocolError("unexpected number of columns in asyncpg.protocol"),
    "attributes": asyncpg.TargetServerAttributeNotMatched("match <SessionAttribute.standby>"),
    "configuration": asyncpg.ClientConfigurationError("could not determine user to asyncpg"),
    "wrapped": sqlalchemy.exc.DBAPIError("SELECT", {}, Exception("<class 'asyncpg.exceptions.X'>")),
    "state": sqlalchemy.exc.PendingRollbackError("Can't reconnect until sqlalche.me is read"),
    "pool": of_the_pool(),
    "tls": of_tls(),
}
WORDS = "asyncpg|sqlalchem|sqlalche|<class|<Session|QueuePool|_ssl|operation|in the middle|protocol"


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER.keys())
def test_no_inner_word_of_a_library_is_shown(inner: Exception) -> None:
    """One sentence with what happened, and one with what to do."""
    ours = translate(inner)
    assert ours is not None
    found = [word for word in WORDS.split("|") if word in str(ours)]
    assert found == [], str(ours)
    assert ours.message
    assert ours.remedy


def test_a_broken_connection_may_be_tried_again() -> None:
    """Whatever words it broke with."""
    for name in ("closed", "busy", "protocol", "pool", "state"):
        assert isinstance(translate(INNER[name]), DestinationUnavailable), name
