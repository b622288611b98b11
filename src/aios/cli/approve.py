"""`aios approve`: a person's yes or no to operations that can't be undone."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import open_kernel, settings_of
from aios.cli.output import JsonFlag, execute, print_json, visible

if TYPE_CHECKING:
    from aios.abi.syscalls import Approval
    from aios.sdk.agent import Connection

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

    async def work() -> None:
        async with open_kernel(settings_of(context)) as kernel:
            if ids:
                await _decide(kernel, ids, deny)
                _report(ids, deny, json)
            else:
                await _go_through(kernel, ask=not (json or list_only) and _has_person(), json=json)

    execute(work, json=json)


def _has_person() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


async def _decide(kernel: "Connection", ids: list[str], deny: bool) -> None:
    from aios.abi.syscalls import AccessApprove, AccessDeny, Done

    for approval_id in ids:
        call = AccessDeny(approval_id=approval_id) if deny else AccessApprove(approval_id=approval_id)
        await kernel.expect(call, Done)


def _report(ids: list[str], deny: bool, json: bool) -> None:
    verb = "denied" if deny else "approved"
    if json:
        print_json({verb: ids})
    else:
        print(f"{verb} {' '.join(ids)}")


async def _go_through(kernel: "Connection", *, ask: bool, json: bool) -> None:
    from aios.abi.syscalls import AccessPending, Approvals

    pending = (await kernel.expect(AccessPending(), Approvals)).approvals
    if json:
        print_json({"approvals": pending})
    elif not pending:
        print("nothing waits for a person")
    for approval in () if json else pending:
        print(_line(approval, time.time()))
        if ask:
            await _ask(kernel, approval)


def _line(approval: "Approval", now: float) -> str:
    left = max(0, round(approval.expires - now))
    return f"{approval.id}  {visible(approval.text)}  (process {approval.pid}, {left} s left)"


async def _ask(kernel: "Connection", approval: "Approval") -> None:
    answer = typer.prompt("  let it? yes, no, or later", default="later").strip().lower()
    if answer in ("y", "yes", "n", "no"):
        deny = answer.startswith("n")
        await _decide(kernel, [approval.id], deny)
        _report([approval.id], deny, json=False)
