"""What the faults are injected into: a database of its own for each test, and how much of it."""

import os
from itertools import count

import pytest

from tests.kit.seeding import example
from workermanager import Worker

_numbers = count()


@pytest.fixture(scope="session")
def is_long():
    """True for the long version: make faults."""
    return os.environ.get("WORKERMANAGER_TEST_FAULTS") == "long"


@pytest.fixture(params=["sqlite", "postgresql"])
def make_url(request, tmp_path):
    """Makes a new, empty database each time, and gives its URL."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/{next(_numbers)}.db"
    return new_postgres_url(request.getfixturevalue("postgres"))


@pytest.fixture
def make_postgres_url(postgres):
    """As above, PostgreSQL only."""
    return new_postgres_url(postgres)


def new_postgres_url(server):
    def make():
        name = f"faults_{next(_numbers)}"
        server.create_database(name)
        return server.url(name)

    return make


@pytest.fixture
def seed():
    """Runs the example's chain in this process, undisturbed or not."""

    def seed(url, execs, **settings):
        chain = example.worker.instrumentation
        settings = {"tick_duration": 0, "seed": 7, "schema": example.schema, **settings}
        return Worker(chain, execs_per_tick=execs, database=url, **settings)

    return seed
