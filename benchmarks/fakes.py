"""Steps that keep a core busy with fake companies for as much CPU time as they are told."""

import time
import uuid
from functools import cache


def build_with_ctx(ctx, cpu_ms):
    """As the engine offers it: a seeded generator for each thread, UUIDs from the run's seed."""
    fake = ctx.faker
    until = time.thread_time_ns() + int(cpu_ms * 1e6)
    while time.thread_time_ns() < until:
        build(fake, ctx.uuid)


def build_with_stock_faker(cpu_ms):
    """As most scripts do: one Faker() for all threads, and uuid4."""
    fake = stock_faker()
    until = time.thread_time_ns() + int(cpu_ms * 1e6)
    while time.thread_time_ns() < until:
        build(fake, uuid.uuid4)


def build(fake, new_id):
    return {
        "id": new_id(),
        "name": fake.company(),
        "catch_phrase": fake.catch_phrase(),
        "country": fake.country_code(),
        "picture": fake.image_url(),
    }


@cache
def stock_faker():
    from faker import Faker

    return Faker()
