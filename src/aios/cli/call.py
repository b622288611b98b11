"""`aios call`: one system call of the table, from a shell."""

import sys
from typing import Annotated

import typer

from aios.cli.output import EXIT_UNUSABLE, JsonFlag, errors_told, execute, print_json, visible


def call(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="GROUP.VERB", show_default=False)] = None,
    words: Annotated[list[str] | None, typer.Argument(metavar="K=V", show_default=False)] = None,
    list_calls: Annotated[
        bool, typer.Option("--list", help="Name every system call and its arguments.")
    ] = False,
    stream: Annotated[bool, typer.Option("--stream", help="Print an answer's text as it comes.")] = False,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait for the reply.", min=0.001, max=604_800)
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make one system call, and print its reply.

    A value is text where the argument is text, else JSON where it is JSON. @FILE stands for a file's
    text, @- for what comes on stdin. The caller is the operator, or the process of --token.
    The reply is JSON either way; with --json errors are too, and --stream prints one object a line.

    \b
    Examples:
      aios call --list
      aios call process.spawn agent=me durable=true
      aios call storage.write path=notes/today.md content=@today.md
      aios call memory.search text="birthday" limit=3
      aios call tool.call name=calculate arguments='{"expression": "6*7"}'
      aios call llm.generate messages="What is a kernel?" --stream
    """
    if list_calls:
        _print_table(json)
        return
    if name is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(EXIT_UNUSABLE)
    with errors_told(json=json, one_line=stream, exit_code=EXIT_UNUSABLE):
        from aios.cli.arguments import parse_call

        request = parse_call(name, words or [])

    async def work() -> None:
        from aios.abi.messages import Delta
        from aios.abi.syscalls import Reply
        from aios.cli.connection import open_kernel, settings_of

        def emit(delta: Delta) -> None:
            if json:
                print_json({"delta": delta}, one_line=True)
            else:
                print(visible(delta.text), end="", flush=True)

        async with open_kernel(settings_of(context)) as kernel:
            reply = await kernel.expect(request, Reply, on_delta=emit if stream else None, timeout_s=timeout)
        if stream and json:
            print_json({"reply": reply}, one_line=True)
            return
        if stream:
            print()
        print_json(reply)

    execute(work, json=json, one_line=stream)


def _print_table(json: bool) -> None:
    from aios.cli.arguments import describe_calls

    if json:
        print_json(
            [{"call": name, "arguments": fields, "doc": doc} for name, fields, doc in describe_calls()]
        )
        return
    for name, fields, doc in describe_calls():
        print(f"{name} {fields}".rstrip())
        print(f"    {doc}")
