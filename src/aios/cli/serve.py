"""`aios serve`: a kernel for this machine, on its socket and over HTTP, until Ctrl-C."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from aios.cli.connection import is_listening, load_config, settings_of
from aios.cli.output import JsonFlag, Unusable, execute
from aios.cli.policy import MaybePolicy

if TYPE_CHECKING:
    from aios.abi.syscalls import CoreEntry
    from aios.kernel.config import Config
    from aios.server.app import Address


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 for a free one.", min=0, max=65535, show_default="8000")
    ] = None,
    policy: MaybePolicy = None,
    json: JsonFlag = False,
) -> None:
    """Start a kernel for this machine.

    Ctrl-C ends it; its files and notes stay.

    Agents and the other commands find it by its socket in the data folder. Over HTTP it speaks
    /v1/syscalls and the OpenAI API at /v1, and wants a process's token as the key:
    `aios call process.spawn agent=me durable=true` makes one.

    \b
    Examples:
      aios serve
      aios --data /var/lib/aios serve --port 9000
      aios serve --policy srpt
    With --json the ready line is one JSON object.
    """

    async def work() -> None:
        config = load_config(settings_of(context), host=host, port=port, scheduler__policy=policy)
        if await is_listening(config.socket_path):
            raise Unusable(f"a kernel is already running at {config.socket_path}")
        await _serve(config, json)

    execute(work, json=json)


async def _serve(config: "Config", json: bool) -> None:
    from aios.abi.wire import encode
    from aios.kernel.kernel import Kernel
    from aios.server.app import serve as serve_until_signal

    async with Kernel(config) as kernel:

        def ready(address: "Address") -> None:
            if json:
                print(encode({"url": address.url, "socket": str(address.socket)}).decode(), flush=True)
            else:
                _print_ready(address, config, kernel.cores())

        await serve_until_signal(kernel, config, ready=ready)
    if not json:
        print("aios: stopped")


def _print_ready(address: "Address", config: "Config", cores: "Sequence[CoreEntry]") -> None:
    print(f"aios: serving at {address.url}/v1")
    print(f"  socket   {address.socket}")
    print(f"  data     {config.data}")
    for core in cores:
        print(f"  core     {core.name}: {core.model}, {core.slots} at a time, {core.health}")
    print("  a key    aios call process.spawn agent=me durable=true")
    print(f"  OpenAI   OPENAI_BASE_URL={address.url}/v1")
    print("           OPENAI_API_KEY=<the key's token>")
    print("Ctrl-C stops it.", flush=True)
