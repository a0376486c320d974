"""A chain of Commands as the tasks of a pool: the same workflow, in its Python form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from instrumentation.chains import as_instrumentation
from instrumentation.commands import Command
from instrumentation.composing import Chained, Finally, Group
from instrumentation.errors import InvalidConfig, ParamError
from instrumentation.nodes import Knot, Link
from workermanager.processes.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from instrumentation.composing import Chain
    from instrumentation.nodes import Node

__all__ = ["tasks_of"]


def tasks_of(flow: Chain, source: str) -> list[Task]:
    """The tasks that a chain of Commands stands for, each after those that it has to wait for.

    Parts of a group have nothing to wait for but what the group does. What is in ``finally_`` runs
    however the rest ended. A step's name is the identifier, its retries and the command's timeout
    are the task's. ``source`` is what a refusal calls the chain.

    Raises:
        InvalidConfig: there is something in it that no task can do.
    """
    instrumentation = as_instrumentation(flow)
    weaver = _Weaver(source)
    weaver.line(instrumentation.nodes(), (), instrumentation.task_arguments)
    return weaver.tasks


class _Weaver:
    """Lays out parts one after the other; gives what the next one has to wait for."""

    def __init__(self, source: str) -> None:
        self.tasks: list[Task] = []
        self._source = source

    def line(
        self,
        nodes: Sequence[Node],
        after: tuple[str, ...],
        params: Mapping[str, Any],
        *,
        always: bool = False,
    ) -> tuple[str, ...]:
        is_sure = always or not after  # to begin
        for node in nodes:
            if not is_sure and isinstance(node, Knot) and isinstance(node.part, Finally):
                self._refuse(node, "it would run even if its chain never began: put it outermost")
            after = self._lay(node, after, params, always=always)
            always = False
        return after

    def _lay(
        self, node: Node, after: tuple[str, ...], params: Mapping[str, Any], *, always: bool
    ) -> tuple[str, ...]:
        if isinstance(node, Link):
            return self._lay_step(node, after, params, always=always)
        part = node.part
        if isinstance(part, Chained) and part.timeout is None:
            return self.line(node.members, after, {**params, **part.arguments}, always=always)
        if isinstance(part, Group):
            self._check_group(node, part)
            ends = [self._lay(member, after, params, always=always) for member in node.members]
            return tuple(name for names in ends for name in names)
        if isinstance(part, Finally):  # what follows waits for what failed before it as well
            return (*after, *self.line(node.members, after, params, always=True))
        return self._refuse(node, "a pool has tasks, one after the other or at once: no more")

    def _check_group(self, node: Knot, group: Group) -> None:
        if group.timeout is not None or group.most is not None or group.into is not None:
            self._refuse(node, "timeout, most and into of a group are not for the tasks of a pool")
        if group.errors != "raise":
            self._refuse(node, 'errors="collect" is not for the tasks of a pool')

    def _lay_step(
        self, link: Link, after: tuple[str, ...], params: Mapping[str, Any], *, always: bool
    ) -> tuple[str, ...]:
        command = link.fn
        if not isinstance(command, Command):
            self._refuse(link, "it is no Command: only these are tasks of a pool")
        if link.timeout is not None or link.limit is not None or command.ok != (0,):
            self._refuse(link, "a limit, other exit codes and a Step's timeout are not for tasks")
        if link.retry is not None and (link.retry.when or link.retry.deadline is not None):
            self._refuse(link, "of a Retry a task has the attempts, but neither when nor deadline")
        if command.into is not None or command.parse is not None:
            self._refuse(link, "into and parse are not for tasks: their output is in their results")
        try:
            invocation = command.invocation(params)
            stdin = None if invocation.stdin is None else invocation.stdin.decode()
        except ParamError as error:
            self._refuse(link, f"{error}; a task has the chain's own arguments only")
        except UnicodeDecodeError:
            self._refuse(link, "its stdin is no text")
        task = Task(
            identifier=link.name,
            command=invocation.command,
            args=invocation.args,
            cwd=invocation.cwd,
            env=invocation.env,
            stdin=stdin,
            timeout=command.timeout,
            retries=None if link.retry is None else link.retry.attempts - 1,
            after=after,
            always=always and bool(after),
        )
        self.tasks.append(task)
        return (task.identifier,)

    def _refuse(self, node: Node, why: str) -> NoReturn:
        raise InvalidConfig(f"{self._source}: step {node.name!r}: {why}")
