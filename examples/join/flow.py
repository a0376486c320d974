"""Two scripts at once, then the one that joins what they wrote: flow.toml as a chain.

As a pool: workermanager pool -i examples/join/flow.py:flow
As a run:  workermanager run examples/join/flow.py:flow --ticks 1
"""

from workermanager import Command, Step, chain, group

flow = chain(
    group(
        Step(Command("sh", "examples/join/write_a.sh"), name="write_a"),
        Step(Command("sh", "examples/join/write_b.sh"), name="write_b"),
    ),
    Step(Command("sh", "examples/join/combine.sh"), name="combine"),
    name="join",
)
