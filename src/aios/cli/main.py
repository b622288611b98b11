"""`aios`: the options before the command, and the list of commands. Each command's module imports late."""

from pathlib import Path
from typing import Annotated

import typer

from aios.cli import (
    approve,
    backup,
    bench,
    call,
    cores,
    demo,
    explain,
    files,
    fsck,
    ingest,
    mount,
    process,
    run,
    search,
    serve,
    shell,
    top,
)
from aios.cli.connection import Settings

app = typer.Typer(
    name="aios",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)

Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", envvar="AIOS_DATA", help="The data folder (default: ~/.aios)."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="AIOS_CONFIG",
        help="The configuration file.",
        show_default="aios.toml here",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", envvar="AIOS_URL", help="The kernel: unix:PATH or http://HOST:PORT."),
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        envvar="AIOS_TOKEN",
        help="A process's token (default: the operator's; over HTTP, none).",
    ),
]


@app.callback(epilog="Exit codes: 0 done, 1 it failed, 2 it could not be tried, 130 interrupted.")
def options(
    context: typer.Context,
    data: Data = None,
    config: ConfigFile = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """AIOS, an operating system for LLM agents: one kernel, many agents.

    \b
    Begin here:
      aios demo                                 fifty agents share one model
      aios run react "What is 12% of 80?"       one agent, one task
      aios serve                                a kernel for your own agents
    """
    context.obj = Settings(data=data, config=config, url=url, token=token)


app.command()(demo.demo)
app.command()(serve.serve)
app.command()(run.run)
app.command()(shell.shell)
app.command()(process.ps)
app.command()(top.top)
app.command()(cores.cores)
app.command()(explain.explain)
app.command()(process.kill)
app.command()(process.suspend)
app.command()(process.resume)
app.command()(files.ls)
app.command()(files.put)
app.command()(files.get)
app.command()(search.search)
app.command()(ingest.ingest)
app.command()(mount.mount)
app.command()(mount.unmount)
app.command()(call.call)
app.command()(approve.approve)
app.command()(fsck.fsck)
app.command()(backup.backup)
app.command()(bench.bench)


def main() -> None:
    """The entry point of the `aios` command."""
    app()
