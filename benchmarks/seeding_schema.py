"""What is seeded: chains of a company, its profile picture and a user, 15 fields in 3 rows.

The tables are the example's. Every candidate gets a fresh database that has them, empty.
"""

import random
import tempfile
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from sqlalchemy import create_engine, event, func, make_url, select, text

from examples.load_runner import companies, profile_pictures, schema, users

TABLES = (companies, profile_pictures, users)
PROVIDERS = ("company", "catch_phrase", "country_code", "image_url", "name", "user_name", "job")
MADE_BEFOREHAND = 1_000


@contextmanager
def fresh_database(server):
    """The URL of a database on a PostgreSQL server, or in a SQLite file where there is none."""
    with _fresh_file() if server is None else _fresh_name(server) as url:
        with connected(url) as engine:
            schema.create_all(engine)
        yield url


@contextmanager
def _fresh_file():
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder) / 'seeded.db'}"


@contextmanager
def _fresh_name(server):
    name = f"seeded_{uuid.uuid4().hex}"
    _administer(server, f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string()
    finally:
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(server, statement):
    with connected(server) as engine, engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))


@contextmanager
def connected(url, connections=1):
    """An engine for so many threads, set up as ours is."""
    engine = create_engine(url, pool_size=connections, max_overflow=0)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", lambda one: one.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        yield engine
    finally:
        engine.dispose()


def _set_up_sqlite(connection, _record):
    connection.isolation_level = None
    set_pragmas(connection)


def set_pragmas(connection):
    pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=60000")
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def per_chain(begun, url, chains):
    """The figures of chains that were begun then and are all committed now: read back."""
    took = time.perf_counter() - begun
    assert_seeded(url, chains)
    return {"µs": took / chains * 1e6}


def assert_seeded(url, chains):
    with connected(url) as engine, engine.connect() as connection:
        for table in TABLES:
            found = connection.scalar(select(func.count()).select_from(table))
            assert found == chains, f"{found} rows in {table.name}, not {chains}"


def ordered_uuid():
    """A version-7 UUID: every candidate's keys are in the order of time, as indexes like them."""
    bits = time.time_ns() // 1_000_000 << 80 | 7 << 76 | 2 << 62
    return uuid.UUID(int=bits | random.getrandbits(12) << 64 | random.getrandbits(62))


def chain_of(fake):
    """The three rows of a chain, in the order of TABLES."""
    company = {
        "id": ordered_uuid(),
        "name": fake.company(),
        "catch_phrase": fake.catch_phrase(),
        "country": fake.country_code(),
        "created_at": datetime.now(UTC),
    }
    picture = {"id": ordered_uuid(), "company_id": company["id"], "url": fake.image_url()}
    user_id = ordered_uuid()
    user = {
        "id": user_id,
        "company_id": company["id"],
        "profile_picture_id": picture["id"],
        "name": fake.name(),
        "email": f"{fake.user_name()}.{user_id.hex[-12:]}@example.com",
        "job": fake.job(),
        "created_at": datetime.now(UTC),
    }
    return company, picture, user


def chains_beforehand(chains):
    """For each table its rows."""
    fake = Picked()
    return list(zip(*(chain_of(fake) for _ in range(chains)), strict=True))


class Picked:
    """Answers as Faker does, out of values that it made beforehand."""

    def __init__(self):
        for provider, values in _made_beforehand().items():
            setattr(self, provider, partial(random.choice, values))


@cache
def _made_beforehand():
    from faker import Faker

    fake = Faker(use_weighting=False)
    return {
        provider: [getattr(fake, provider)() for _ in range(MADE_BEFOREHAND)]
        for provider in PROVIDERS
    }
