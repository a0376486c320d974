"""Seeds fake companies, then for each one its profile picture and its users, tick by tick.

Run it with::

    workermanager run examples/load_runner.py:worker

into ``companies.db``, or elsewhere with ``--database``; ``--set users_per_company=5`` makes the
companies bigger, ``--execs-per-tick 100 --ticks 60`` makes more of them.
"""

from __future__ import annotations

from sqlalchemy import Column, DateTime, ForeignKey, MetaData, String, Table, Uuid

from workermanager import Exec, Instrumentation, TaskParams, Worker

schema = MetaData()

companies = Table(
    "companies",
    schema,
    Column("id", Uuid, primary_key=True),
    Column("name", String(120), nullable=False),
    Column("catch_phrase", String(200), nullable=False),
    Column("country", String(2), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

profile_pictures = Table(
    "profile_pictures",
    schema,
    Column("id", Uuid, primary_key=True),
    Column("company_id", ForeignKey("companies.id"), nullable=False, index=True),
    Column("url", String(300), nullable=False),
)

users = Table(
    "users",
    schema,
    Column("id", Uuid, primary_key=True),
    Column("company_id", ForeignKey("companies.id"), nullable=False, index=True),
    Column("profile_picture_id", ForeignKey("profile_pictures.id"), nullable=False),
    Column("name", String(120), nullable=False),
    Column("email", String(200), nullable=False, unique=True),
    Column("job", String(120), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)


def add_companies_step_001(ctx: Exec, params: TaskParams) -> TaskParams:
    """Insert a company, and pass its id on."""
    fake = ctx.faker
    company_id = ctx.uuid()
    ctx.insert(
        companies,
        {
            "id": company_id,
            "name": fake.company(),
            "catch_phrase": fake.catch_phrase(),
            "country": fake.country_code(),
            "created_at": ctx.now,
        },
    )
    params["company_id"] = company_id
    return params


def add_user_step_002(ctx: Exec, params: TaskParams) -> None:
    """Insert the profile picture of the company, and its users."""
    fake = ctx.faker
    company_id = params["company_id"]
    picture_id = ctx.uuid()
    picture = {"id": picture_id, "company_id": company_id, "url": fake.image_url()}
    ctx.insert(profile_pictures, picture)
    for _ in range(params.get_as("users_per_company", int)):
        ctx.insert(
            users,
            {
                "id": ctx.uuid(),
                "company_id": company_id,
                "profile_picture_id": picture_id,
                "name": fake.name(),
                "email": ctx.unique(f"{fake.user_name()}@example.com"),
                "job": fake.job(),
                "created_at": ctx.now,
            },
        )


worker = Worker(
    Instrumentation(
        func_dispatcher=add_companies_step_001,
        nested_callback=add_user_step_002,
        task_arguments=TaskParams(users_per_company=3),
        func_name="addCompanies",
    ),
    execs_per_tick=[100, 200, 400, 200, 100],
    tick_duration="1s",
    database="sqlite:///companies.db",
    schema=schema,
)
