"""Workers that write down every exec that they acknowledge, after its commit.

``worker`` is the example's; ``composed`` and ``awaiting`` fill the same tables by chains that fan
out, join and recover, on threads and on an event loop.
"""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import load_runner

from workermanager import Instrumentation, Step, chain, each, group, on_error

acknowledged = os.open(os.environ["ACKNOWLEDGED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def acknowledge(result):
    if result.error is None:
        os.write(acknowledged, f"{result.n}\n".encode())


worker = replace(load_runner.worker, on_result=acknowledge)


def add_picture(ctx, params):
    picture_id = ctx.uuid()
    row = {"id": picture_id, "company_id": params["company_id"], "url": ctx.faker.image_url()}
    ctx.insert(load_runner.profile_pictures, row)
    return {"picture_id": picture_id}


def add_user(ctx, params):
    ctx.insert(
        load_runner.users,
        {
            "id": ctx.uuid(),
            "company_id": params["company_id"],
            "profile_picture_id": params["picture_id"],
            "name": ctx.faker.name(),
            "email": ctx.unique("user@example.com"),
            "job": ctx.faker.job(),
            "created_at": ctx.now,
        },
    )


def add_a_wrong_picture(ctx, params):
    add_picture(ctx, params)
    raise ValueError("it must leave nothing")


def choose(ctx, params):
    return {"users": ctx.random.choices("abc", k=3)}


async def breathe(ctx, params):
    await asyncio.sleep(0)


def compose(*more):
    return Instrumentation(
        func_dispatcher=chain(
            load_runner.add_companies_step_001,
            on_error(add_a_wrong_picture, lambda _ctx, _params: None),
            group(add_picture, choose, *more),
            each(Step(add_user, timeout=60.0), over="users", most=2),
        ),
        func_name="composed",
    )


composed = replace(worker, instrumentation=compose())
awaiting = replace(worker, instrumentation=compose(breathe))
