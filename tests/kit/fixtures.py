"""The kit's fixtures."""

import pytest
from loguru import logger


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """A PostgreSQL server for all tests of a session; each makes its own database."""
    from tests.kit.postgres import PostgresServer

    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def warnings():
    """What the exports warn of, message by message."""
    told = []
    logger.enable("workermanager")
    number = logger.add(
        lambda message: told.append(message.record["message"]),
        level="WARNING",
        filter="workermanager.exports",
    )
    yield told
    logger.remove(number)
    logger.disable("workermanager")


@pytest.fixture
def pool(tmp_path):
    """Calls ``workermanager pool`` in an empty folder; what it started is over at the end."""
    from tests.kit.process_pool import Pool

    calls = Pool(tmp_path)
    yield calls
    calls.close()


@pytest.fixture
def firing():
    """Makes jobs of schedules and runs their fires; what it started is over at the end."""
    from tests.kit.firing import Firing

    firing = Firing()
    yield firing
    firing.close()
