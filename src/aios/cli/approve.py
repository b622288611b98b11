"""`aios approve`: a person's yes or no to operations that can't be undone."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import Settings, open_kernel, settings_of
from aios.cli.each import Outcome, report, report_and_leave, try_each
from aios.cli.output import (
    EXIT_FAILED,
    EXIT_UNUSABLE,
    JsonFlag,
    Unusable,
    errors_told,
    execute,
    fail,
    print_json,
    visible,
)

if TYPE_CHECKING:
    from aios.abi.syscalls import Approval

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", show_default=False)]


def approve(
    context: typer.Context,
    ids: Ids = None,
    deny: Annotated[bool, typer.Option("--deny", help="Refuse the named operations.")] = False,
    list_only: Annotated[bool, typer.Option("--list", help="Only list them, ask nothing.")] = False,
    json: JsonFlag = False,
) -> None:
    """Say yes or no to operations that wait for a person.

    An agent that wants to delete another's file waits here until somebody agrees, and is refused when
    its time is up. Without an ID: asks about each on a terminal, else lists them.

    \b
    Examples:
      aios approve              what waits; on a terminal asks y/n for each
      aios approve a1           let a1 run, once
      aios approve a1 a2 --deny
    """

    settings = settings_of(context)
    if ids and list_only:
        fail(Unusable("--list decides nothing: leave it out, or the IDs"), json=json, exit_code=EXIT_UNUSABLE)
    if ids:
        outcome = execute(lambda: _decide(settings, ids, deny), json=json)
        report_and_leave(_verb(deny), outcome, json=json)
        return
    pending = execute(lambda: _pending(settings), json=json)
    if json:
        print_json({"approvals": pending})
    elif not pending:
        print("nothing waits for a person")
    elif not _go_through(settings, pending, ask=not list_only and _has_person()):
        raise typer.Exit(EXIT_FAILED)


def _has_person() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _verb(deny: bool) -> str:
    return "denied" if deny else "approved"


async def _decide(settings: Settings, ids: list[str], deny: bool) -> Outcome:
    from aios.abi.syscalls import AccessApprove, AccessDeny

    decision = AccessDeny if deny else AccessApprove
    async with open_kernel(settings) as kernel:
        return await try_each(kernel, [(name, decision(approval_id=name)) for name in ids])


async def _pending(settings: Settings) -> "Sequence[Approval]":
    from aios.abi.syscalls import AccessPending, Approvals

    async with open_kernel(settings) as kernel:
        return (await kernel.expect(AccessPending(), Approvals)).approvals


def _go_through(settings: Settings, pending: "Sequence[Approval]", *, ask: bool) -> bool:
    """Show each, and ask about it where that is wanted; whether all answers had their effect."""
    all_done = True
    with errors_told():
        for approval in pending:
            print(_line(approval, time.time()))
            if ask and not _ask(settings, approval):
                all_done = False
    return all_done


def _line(approval: "Approval", now: float) -> str:
    left = max(0, round(approval.expires - now))
    return f"{approval.id}  {visible(approval.text)}  (process {approval.pid}, {left} s left)"


def _ask(settings: Settings, approval: "Approval") -> bool:
    """No event loop runs while it waits for the person: that would keep the first Ctrl-C for itself."""
    answer = typer.prompt("  let it? yes, no, or later", default="later").strip().lower()
    if answer not in ("y", "yes", "n", "no"):
        return True
    deny = answer.startswith("n")
    outcome = execute(lambda: _decide(settings, [approval.id], deny))
    report(_verb(deny), outcome, json=False)
    return not outcome.failed
