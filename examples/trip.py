"""Books trips with companies that know nothing of each other: all of a trip, or none of it.

    python examples/trip.py

A flight, then a hotel and perhaps a car at the same time, then a ticket for each traveller. What
was booked is given back, the latest first, if anything after it is refused: a saga.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workermanager import (
    Exec,
    Instrumentation,
    Limit,
    Retry,
    Step,
    TaskParams,
    Worker,
    branch,
    chain,
    compensate,
    each,
    finally_,
    group,
    on_error,
)

if TYPE_CHECKING:
    from instrumentation.composing import Compensated

TRIPS = (
    {"city": "Rome", "travellers": ["Ann", "Bob"], "needs_car": True},
    {"city": "Oslo", "travellers": ["Eve"], "needs_car": False},
    {"city": "Lima", "travellers": ["Cem", "Ida"], "needs_car": True},
    {"city": "Nice", "travellers": ["Dan"], "needs_car": False},
)


class Refused(Exception):
    """Somebody will not do what was asked for; asking again does not help."""


@dataclass
class Company:
    """Stands for the booking system of somebody else, which knows our bookings by our keys."""

    thing: str
    sold_out: str = ""
    bookings: dict[str, str] = field(default_factory=dict)

    def book(self, key: str, city: str) -> None:
        """Take a booking; the same key again is the same booking."""
        if city == self.sold_out:
            raise Refused(f"no {self.thing} in {city}")
        self.bookings[key] = city

    def give_back(self, key: str) -> None:
        """Forget a booking."""
        self.bookings.pop(key, None)


flights, hotels, cars = Company("flight"), Company("hotel", sold_out="Oslo"), Company("car")
one_at_a_time = Limit("hotels", 1)  # the hotels' system bears no more
lines: dict[int, str] = {}


def booking(company: Company, limit: Limit | None = None) -> Compensated:
    """A booking, and what undoes it."""

    def book(ctx: Exec, params: TaskParams) -> TaskParams:
        company.book(ctx.key, params.get_as("city", str))
        return TaskParams({company.thing: "booked"})

    def give_back(ctx: Exec, params: TaskParams) -> None:
        company.give_back(ctx.key)
        params["given_back"].append(company.thing)  # one list, which all clones of params share

    retry = Retry(attempts=3, base=0.01, when=lambda error: not isinstance(error, Refused))
    return compensate(
        Step(book, f"book_{company.thing}", retry=retry, timeout=2, limit=limit),
        Step(give_back, f"give_back_{company.thing}"),
    )


def plan_trip(ctx: Exec, params: TaskParams) -> TaskParams:
    """Take the next trip."""
    return TaskParams(TRIPS[ctx.n], given_back=[])


def needs_car(ctx: Exec, params: TaskParams) -> bool:
    """Decide whether a car is booked."""
    return params.get_as("needs_car", bool)


def issue_ticket(ctx: Exec, params: TaskParams) -> TaskParams:
    """Issue one traveller's ticket."""
    traveller = params.get_as("traveller", str)
    if traveller == "Cem":
        raise Refused(f"{traveller} has no passport")
    return TaskParams(ticket=f"{traveller} to {params['city']}")


def praise(ctx: Exec, params: TaskParams) -> TaskParams:
    """Write what was booked."""
    things = [one.thing for one in (flights, hotels, cars) if one.thing in params]
    tickets = [one["ticket"] for one in params["tickets"]]
    return TaskParams(message=f"{', '.join(things)} booked; tickets: {', '.join(tickets)}")


def apologise(ctx: Exec, params: TaskParams) -> TaskParams:
    """Write why not; by now all is given back."""
    why = None if ctx.error is None else ctx.error.__cause__
    given_back = ", ".join(params["given_back"])
    return TaskParams(message=f"sorry, {why}; given back: {given_back}")


async def send_mail(ctx: Exec, params: TaskParams) -> TaskParams:
    """Send what was written, to a server that takes its time: the event loop waits for it."""
    await asyncio.sleep(0.01)
    return TaskParams(mail="mailed")


def file_trip(ctx: Exec, params: TaskParams) -> None:
    """Keep what became of the trip, whatever that is."""
    message, mail = params.get("message", "unknown"), params.get("mail", "not mailed")
    lines[ctx.n] = f"{params['city']}, {mail}: {message}"


def show(ctx: Exec, params: TaskParams) -> None:
    """Print what became of all trips, and what the companies have in their books."""
    for n in sorted(lines):
        print(lines[n])
    for company in (flights, hotels, cars):
        print(f"{company.thing}: {', '.join(sorted(company.bookings.values()))}")


trips = Worker(
    Instrumentation(
        func_name="trips",
        func_dispatcher=[
            plan_trip,
            on_error(
                chain(
                    booking(flights),
                    group(
                        booking(hotels, limit=one_at_a_time),
                        branch(needs_car, booking(cars)),
                    ),
                    each(issue_ticket, over="travellers", item="traveller", into="tickets"),
                    praise,
                    name="book",
                    timeout=10,
                ),
                apologise,
                when=Refused,
            ),
            Step(send_mail, timeout=5),
            finally_(file_trip),
        ],
    ),
    execs_per_tick=[len(TRIPS)],
    tick_duration=0,
    callback=show,
)

if __name__ == "__main__":
    trips.run()
