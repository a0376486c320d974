"""A stand-in for CockroachDB: its SQLAlchemy dialect against a PostgreSQL made to look like it."""

import psycopg
from sqlalchemy.engine import make_url

from tests.kit.postgres import PostgresServer
from tests.kit.wire import HOST, Schedule, WireProxy

VERSION = "CockroachDB CCL v25.2.3 (x86_64-pc-linux-gnu, built 2025/07/28, go1.23.7)"

# What the dialect and applications ask CockroachDB for and PostgreSQL does not have.
SHIM = f"""
CREATE SCHEMA crdb_shim;
CREATE SCHEMA crdb_internal;

CREATE FUNCTION crdb_shim.version() RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT '{VERSION}'
$$;

-- The time in units of 10 us, then 15 bits: there the node's number, here a count.
CREATE SEQUENCE crdb_shim.rowids MAXVALUE 32767 CYCLE;
CREATE FUNCTION crdb_shim.unique_rowid() RETURNS bigint LANGUAGE sql AS $$
    SELECT ((extract(epoch FROM clock_timestamp()) * 100000)::bigint << 15)
         | nextval('crdb_shim.rowids')
$$;

-- Fails until the transaction is older than the interval.
CREATE FUNCTION crdb_internal.force_retry(age interval) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF statement_timestamp() - transaction_timestamp() < age THEN
        RAISE 'restart transaction: forced by crdb_internal.force_retry()'
            USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN 0;
END
$$;

-- The dialect names information_schema itself, so that the search path cannot lead it elsewhere.
ALTER VIEW information_schema.columns SET SCHEMA crdb_shim;
CREATE VIEW information_schema.columns AS
    SELECT c.*,
           'NO' AS is_hidden,
           upper(format_type(a.atttypid, a.atttypmod)) AS crdb_sql_type,
           col_description(a.attrelid, a.attnum) AS column_comment
    FROM crdb_shim.columns c
    JOIN pg_attribute a
      ON a.attrelid = format('%I.%I', c.table_schema, c.table_name)::regclass
     AND a.attname = c.column_name;
GRANT SELECT ON information_schema.columns TO PUBLIC;
"""

# pg_catalog comes last, or its version() were found first; tables go to the first schema.
SETTINGS = (
    "search_path = public, crdb_shim, pg_catalog",
    "default_transaction_isolation = serializable",
)


def prepare(server: PostgresServer, database: str) -> None:
    """Create a database that answers CockroachDB's dialect."""
    server.create_database(database)
    with psycopg.connect(
        host=HOST, port=server.port, user="postgres", dbname=database, autocommit=True
    ) as connection:
        connection.execute(SHIM)
        for setting in SETTINGS:
            connection.execute(f'ALTER DATABASE "{database}" SET {setting}')


class CockroachStandIn:
    """CockroachDB as its dialect sees it: a prepared database behind a proxy with faults.

    It is PostgreSQL, serializable by default, that says it was CockroachDB. It shows that the
    dialect's SQL runs, and what the caller does about 40001, 40003 and broken connections at
    COMMIT. It cannot show

    - 40001 from clock uncertainty, and contention as CockroachDB resolves it;
    - range splits and transactions that span nodes;
    - online schema changes: here, DDL is transactional and takes effect at once;
    - limits on the size of statements, rows and transactions;
    - how often 40003 happens: here, the schedule says so;
    - types: INTEGER has 4 bytes here and SERIAL a sequence, not 8 bytes and unique_rowid().
    """

    def __init__(self, server: PostgresServer, database: str, schedule: Schedule | None = None):
        self._original = server.url(database)
        self._proxy = WireProxy((HOST, server.port), schedule, {"crdb_version": VERSION})

    def __enter__(self):
        self._proxy.start()
        return self

    def __exit__(self, *exc_info):
        self._proxy.close()

    @property
    def url(self) -> str:
        url = make_url(self._proxy.url(self._original)).set(drivername="cockroachdb+psycopg")
        return url.update_query_dict({"sslmode": "disable"}).render_as_string(hide_password=False)
