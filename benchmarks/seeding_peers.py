"""The same chains by other means, and as fast as the drivers can."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.orm import Session, registry, relationship

from benchmarks.fakes import stock_faker
from benchmarks.harness import ROOT
from benchmarks.seeding_schema import (
    TABLES,
    Picked,
    chain_of,
    chains_beforehand,
    connected,
    fresh_database,
    ordered_uuid,
    per_chain,
    set_pragmas,
)

PER_COMMIT = 500
TIMES = struct.Struct("dd")

# SQLAlchemy Core


def core_by_chain(server, chains, threads):
    """A transaction for every chain, a connection for every thread."""
    fake = stock_faker()
    with fresh_database(server) as url, connected(url, threads) as engine:

        def seed_one():
            with engine.begin() as connection:
                for table, row in zip(TABLES, chain_of(fake), strict=True):
                    connection.execute(table.insert(), row)

        begun = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            for future in [pool.submit(seed_one) for _ in range(chains)]:
                future.result()
        return per_chain(begun, url, chains)


def core_by_group(server, chains):
    fake = stock_faker()
    with fresh_database(server) as url, connected(url) as engine:
        begun = time.perf_counter()
        for first in range(0, chains, PER_COMMIT):
            group = [chain_of(fake) for _ in range(min(PER_COMMIT, chains - first))]
            insert_group(engine, zip(*group, strict=True))
        return per_chain(begun, url, chains)


def core_by_group_beforehand(server, chains):
    rows = chains_beforehand(chains)
    with fresh_database(server) as url, connected(url) as engine:
        begun = time.perf_counter()
        for first in range(0, chains, PER_COMMIT):
            insert_group(engine, [of_table[first : first + PER_COMMIT] for of_table in rows])
        return per_chain(begun, url, chains)


def insert_group(engine, rows):
    with engine.begin() as connection:
        for table, of_table in zip(TABLES, rows, strict=True):
            connection.execute(table.insert(), list(of_table))


# The limits: nothing but the driver and the database, in one transaction


def sqlite_executemany(server, chains):
    rows = [
        [tuple(map(as_sqlite, row.values())) for row in of_table]
        for of_table in chains_beforehand(chains)
    ]
    with fresh_database(server) as url:
        begun = time.perf_counter()
        connection = sqlite3.connect(make_url(url).database)
        set_pragmas(connection)
        with connection:
            for table, of_table in zip(TABLES, rows, strict=True):
                names, marks = ", ".join(table.c.keys()), ", ".join("?" * len(table.c))
                statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"
                connection.executemany(statement, of_table)
        connection.close()
        return per_chain(begun, url, chains)


def as_sqlite(value):
    if isinstance(value, uuid.UUID):
        return value.hex
    return value.isoformat(" ") if isinstance(value, datetime) else value


def postgres_copy(server, chains):
    """Text as the server takes it: no value contains a tab, a newline or a backslash."""
    import psycopg

    texts = [
        "".join("\t".join(map(str, row.values())) + "\n" for row in of_table)
        for of_table in chains_beforehand(chains)
    ]
    with fresh_database(server) as url:
        begun = time.perf_counter()
        with psycopg.connect(as_libpq(url)) as connection, connection.cursor() as cursor:
            for table, of_table in zip(TABLES, texts, strict=True):
                names = ", ".join(table.c.keys())
                with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
                    copy.write(of_table)
        return per_chain(begun, url, chains)


def as_libpq(url):
    return make_url(url).set(drivername="postgresql").render_as_string()


# factory_boy


def factory_boy(server, chains, per_commit):
    with fresh_database(server) as url, connected(url) as engine, Session(engine) as session:
        make_chain = chain_factory(session)
        make_chain.build()  # factory_boy makes its Faker with the first value
        begun = time.perf_counter()
        for number in range(1, chains + 1):
            make_chain()
            if number % per_commit and number < chains:
                session.flush()
            else:
                session.commit()
        return per_chain(begun, url, chains)


def chain_factory(session):
    """The factory of users, each with a company and a picture of its own."""
    import factory
    from factory.alchemy import SQLAlchemyModelFactory

    company, picture, user = mapped_classes()

    class Chained(SQLAlchemyModelFactory):
        class Meta:
            sqlalchemy_session = session
            abstract = True

        id = factory.LazyFunction(ordered_uuid)

    class CompanyFactory(Chained):
        class Meta:
            model = company

        name = factory.Faker("company")
        catch_phrase = factory.Faker("catch_phrase")
        country = factory.Faker("country_code")
        created_at = factory.LazyFunction(lambda: datetime.now(UTC))

    class PictureFactory(Chained):
        class Meta:
            model = picture

        url = factory.Faker("image_url")

    class UserFactory(Chained):
        class Meta:
            model = user
            exclude = ("user_name",)

        company = factory.SubFactory(CompanyFactory)
        picture = factory.SubFactory(PictureFactory, company=factory.SelfAttribute("..company"))
        name = factory.Faker("name")
        user_name = factory.Faker("user_name")
        email = factory.LazyAttribute(lambda own: f"{own.user_name}.{own.id.hex[-12:]}@example.com")
        job = factory.Faker("job")
        created_at = factory.LazyFunction(lambda: datetime.now(UTC))

    return UserFactory


def mapped_classes():
    mapped = type("Company", (), {}), type("Picture", (), {}), type("User", (), {})
    company, picture, _user = mapped
    related = {}, {"company": company}, {"company": company, "picture": picture}
    mapper = registry()
    for one, table, others in zip(mapped, TABLES, related, strict=True):
        properties = {name: relationship(other) for name, other in others.items()}
        mapper.map_imperatively(one, table, properties=properties)
    return mapped


# dbworkload


def dbworkload(server, chains, workers):
    """By its command line, with a process for every core, which is its default.

    What counts is from the first transaction's begin to the last one's commit, in whichever
    process: its start takes seconds, its end waits for its reports, and its own figures are in
    whole seconds.
    """
    import dbworkload as installed

    with fresh_database(server) as url, tempfile.TemporaryDirectory() as folder:
        run_dbworkload(installed.__name__, url, Path(folder), chains, workers)
        times = [TIMES.unpack(one.read_bytes()) for one in Path(folder).glob("*.times")]
        assert len(times) == workers, f"{len(times)} workers began, not {workers}"
        took = max(last for _, last in times) - min(first for first, _ in times)
        return per_chain(time.perf_counter() - took, url, chains)


def run_dbworkload(program, url, folder, chains, workers):
    workload = folder / "chains.py"  # it looks for a class of the file's name
    workload.write_text("from benchmarks.seeding_peers import Chains\n\nChains.prepare()\n")
    argv = [
        *(Path(sys.executable).with_name(program), "run", "--workload", workload),
        *("--uri", as_libpq(url), "--concurrency", str(workers), "--iterations", str(chains)),
        *("--args", json.dumps({"folder": str(folder)}), "--port", "0", "--quiet"),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


class Chains:
    """dbworkload's workload; each of its workers has one, and notes when it began and ended."""

    @staticmethod
    def prepare():
        """Make the values before dbworkload forks its processes."""
        Picked()

    def __init__(self, args):
        self._fake = Picked()
        self._folder = Path(args["folder"])
        self._inserts = [
            f"INSERT INTO {table.name} ({', '.join(table.c.keys())})"
            f" VALUES ({', '.join(['%s'] * len(table.c))})"
            for table in TABLES
        ]

    def setup(self, _connection, worker, _workers):
        self._times = os.open(self._folder / f"{worker}.times", os.O_CREAT | os.O_WRONLY)
        self._began = time.perf_counter()

    def loop(self):
        return [self.add_chain]

    def add_chain(self, connection):
        rows = chain_of(self._fake)
        with connection.transaction():
            for insert, row in zip(self._inserts, rows, strict=True):
                connection.execute(insert, tuple(row.values()))
        # Nobody tells a workload which loop is its last one; a write takes 2 µs.
        os.pwrite(self._times, TIMES.pack(self._began, time.perf_counter()), 0)
