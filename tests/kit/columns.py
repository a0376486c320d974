"""A table with a column of every usual type, and rows for it."""

import enum
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    Uuid,
)


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"


VALUES = {
    "uuid": (Uuid, UUID("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")),
    "uuid_text": (Uuid(as_uuid=False), "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"),
    "moment": (DateTime, datetime(2026, 2, 28, 23, 59, 59, 123_456)),  # noqa: DTZ001 - of no zone
    "moment_utc": (DateTime(timezone=True), datetime(2026, 2, 28, 23, 59, 59, 123_456, UTC)),
    "day": (Date, date(2024, 2, 29)),
    "hour": (Time, time(12, 34, 56, 789)),
    "while": (Interval, timedelta(days=3, seconds=5, microseconds=7)),
    "price": (Numeric(12, 4), Decimal("1234567.8901")),
    "price_as_int": (Numeric(12, 0), 5),
    "ratio": (Float, 0.1),
    "big": (BigInteger, 2**62),
    "small": (SmallInteger, -7),
    "flag": (Boolean, True),
    "unset": (Boolean, False),
    "json": (JSON, {"a": [1, 2.5, None, "ü"], "b": {}}),
    "json_list": (JSON, [3, 2, 1]),
    "colour": (Enum(Colour, name="colour"), Colour.GREEN),
    "size": (Enum("s", "m", name="size"), "m"),
    "bytes": (LargeBinary, bytes(range(256))),
    "name": (String(20), "Łukasz 😀"),
    "empty": (String(20), ""),
    "text": (Text, "a\tb\nc\\d\\N\r\n'\"; -- %s %(x)s :x ?"),
}
"""Column name: its type, and a value for it."""


def make_table(schema: MetaData, name: str = "typed") -> Table:
    """A table with these columns, and one of each kind that is empty."""
    columns = [Column(column, kind) for column, (kind, _) in VALUES.items()]
    nothing = [Column(f"no_{column}", kind) for column, (kind, _) in VALUES.items()]
    return Table(name, schema, Column("id", Integer, primary_key=True), *columns, *nothing)


def make_row(number: int) -> dict[str, object]:
    values = {column: value for column, (_, value) in VALUES.items()}
    return {"id": number, **values, **{f"no_{column}": None for column in VALUES}}


EAST = timezone(timedelta(hours=5, minutes=30))
