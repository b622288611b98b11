"""`aios shell`: one's files and notes in one's own words, through whichever model the kernel has."""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aios.abi.errors import AiosError
from aios.cli.connection import any_kernel, settings_of
from aios.cli.output import JsonFlag, complain, errors_told, print_json, visible

if TYPE_CHECKING:
    import asyncio

    from aios.abi.messages import Message, ToolCall
    from aios.sdk.agent import Connection

TOOLS = (
    *("list_files", "search_files", "read_file", "file_history"),
    *("write_file", "append_file", "join_files", "rollback_file", "delete_file"),
    *("recall", "remember", "update_note", "forget"),
    *("current_time", "add_days", "days_between", "weekday"),
)
ASKED = {
    "delete_file": "delete the file {path} with all its versions",
    "forget": "forget the note {note_id} with its history",
}
"""Tools whose effect is not taken back: all others read, or keep what was there before as a version."""

_LEAVING = ("exit", "quit")


def shell(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(metavar="REQUEST", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to all that can't be undone.")] = False,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The model (default: any).")] = None,
    own_kernel: Annotated[bool, typer.Option("--own-kernel", help="Use a kernel in this process.")] = False,
    json: JsonFlag = False,
) -> None:
    """Work on your files and notes in your own words.

    With a REQUEST it does that and leaves; without one it reads one after the other until `exit` or the
    end of the input. What can't be undone, such as deleting a file, is asked about first, in this
    command's words and not the model's; where nobody can be asked it is refused, unless --yes agrees to all.
    The embedded model does simple things, one at a time; more is for a larger one.

    \b
    Examples:
      aios shell "list my files"
      aios shell "write milk and eggs to shopping.txt"
      aios shell "put last week's notes on pricing into one file" --model big
      aios shell --json "what is in shopping.txt?"
    """
    import asyncio

    settings = settings_of(context)
    requests = iter([" ".join(words)]) if words else _typed(json=json)
    with errors_told(json=json, one_line=not words), asyncio.Runner() as runner:
        opening = any_kernel(settings, own=own_kernel)
        kernel = runner.run(_entered(opening))
        try:
            session = Session(kernel, model, agrees=yes, may_ask=_has_person() and not json)
            if _has_person() and not json:
                session.watch()
            for request in requests:
                _answer(runner, session, request, json=json, is_only=bool(words))
        finally:
            runner.run(opening.__aexit__(None, None, None))


async def _entered(opening: Any) -> "Connection":
    kernel: Connection = await opening.__aenter__()
    return kernel


def _answer(runner: "asyncio.Runner", session: "Session", request: str, *, json: bool, is_only: bool) -> None:
    """Do one thing and show what came of it. What fails ends a session of one thing only."""
    try:
        answer, calls = runner.run(session.do(request))
    except AiosError as error:
        if is_only:
            raise
        if json:
            print_json({"error": error.to_reply()}, one_line=True)
        else:
            complain(f"{error.code}: {error.message}")
        return
    if json:
        print_json({"answer": answer, "calls": calls}, one_line=not is_only)
    else:
        print(visible(answer))


class Session:
    """One conversation of a person with a model that has the tools for files and notes."""

    def __init__(self, kernel: "Connection", model: str | None, *, agrees: bool, may_ask: bool) -> None:
        """`agrees` to all, or asks about it where it `may_ask`, else to nothing that can't be undone."""
        from aios.sdk.methods.react import ReAct

        self._kernel = kernel
        self._agrees = agrees
        self._may_ask = may_ask
        self._react = ReAct(TOOLS, model=model, may_run=self._may_run)

    def watch(self) -> None:
        """Show on stderr which tools run, as they do."""
        from aios.cli.watch import Watched

        self._kernel.transport = Watched(self._kernel.transport, sys.stderr)

    async def do(self, request: str) -> tuple[str, list[dict[str, Any]]]:
        """The model's answer, and the calls that it made of tools."""
        before = len(self._react.history)
        answer = await self._react.run(self._kernel, request)
        return answer, _calls(self._react.history[before:])

    async def _may_run(self, call: "ToolCall") -> bool:
        if self._agrees or call.name not in ASKED:
            return True
        what = ASKED[call.name].format_map(_Shown(call.arguments))
        if not self._may_ask:
            complain(f"it would {what}: nobody can be asked, --yes agrees")
            return False
        with _interruptible():
            return typer.confirm(visible(f"aios: {what}?"), default=False, err=True)


class _Shown(dict[str, Any]):
    """Arguments as they are shown; one that is missing as it is."""

    def __missing__(self, key: str) -> str:
        return "?"


def _calls(messages: "Sequence[Message]") -> list[dict[str, Any]]:
    results = {message.tool_call_id: message.text for message in messages if message.role == "tool"}
    return [
        {"name": call.name, "arguments": call.arguments, "result": results.get(call.id, "")}
        for message in messages
        for call in message.tool_calls
    ]


def _typed(*, json: bool) -> Iterator[str]:
    """What is typed, or comes from a pipe, line by line."""
    prompt = "aios> " if _has_person() and not json else ""
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        if line in _LEAVING:
            return
        if line:
            yield line


def _has_person() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends a question at once; the event loop would keep the first one for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals are the main thread's.
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
