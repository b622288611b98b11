"""One call for each of several things: none that fails stops or hides the others."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from aios.abi.errors import AiosError
from aios.cli.output import EXIT_FAILED, complain, print_json, visible

if TYPE_CHECKING:
    from aios.abi.syscalls import SystemCall
    from aios.sdk.agent import Connection


class Outcome(NamedTuple):
    """The things by their ids: those it was done to, and those it failed for."""

    done: list[Any]
    failed: list[tuple[Any, AiosError]]


async def try_each(kernel: "Connection", calls: "Iterable[tuple[Any, SystemCall]]") -> Outcome:
    """Make the calls, one after the other."""
    from aios.abi.syscalls import Done

    outcome = Outcome([], [])
    for thing, call in calls:
        try:
            await kernel.expect(call, Done)
        except AiosError as error:
            outcome.failed.append((thing, error))
        else:
            outcome.done.append(thing)
    return outcome


def report(verb: str, outcome: Outcome, *, json: bool) -> None:
    """Print what was done and what was not."""
    if json:
        print_json(_as_json(verb, outcome))
        return
    if outcome.done:
        print(verb, *(visible(str(thing)) for thing in outcome.done))
    for _, error in outcome.failed:
        complain(f"{error.code}: {error.message}")


def report_and_leave(verb: str, outcome: Outcome, *, json: bool) -> None:
    """`report`, and exit with an error where there is one."""
    report(verb, outcome, json=json)
    if outcome.failed:
        raise typer.Exit(EXIT_FAILED)


def _as_json(verb: str, outcome: Outcome) -> dict[str, Any]:
    """With `error`, as everywhere, where something failed: the first of them."""
    if not outcome.failed:
        return {verb: outcome.done}
    failed = [{"id": thing, "error": error.to_reply()} for thing, error in outcome.failed]
    return {verb: outcome.done, "failed": failed, "error": failed[0]["error"]}
