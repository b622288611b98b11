"""What a mounted directory costs, for `aios bench storage`: processor time of this process, by the piece.

Files are made in a directory that a kernel lends, mounted, and changed on both sides. `idle` is waited for
after each change, so that a figure is all that the change came to: what is read again, and what searches are
told.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aios.abi import syscalls as sc
from aios.bench.notes.notebook import spawn
from aios.bench.peer import kernel_at_once
from aios.bench.report import Progress
from aios.kernel.config import AccessConfig, MountConfig
from aios.kernel.kernel import Kernel

FOLDER_FILES = 40
LETTERS = 300
"""Of a file."""
LENT = "lent"

Ask = Callable[[sc.SystemCall], Awaitable[Any]]


async def mounting(num_files: int, num_changes: int, progress: Progress) -> list[dict[str, Any]]:
    """Rows: a directory of `num_files` taken in and looked through again, and so many changes of it."""
    progress(f"storage: a directory of {num_files:,} files, mounted")
    with TemporaryDirectory(prefix="aios-mount-") as name:
        lent, data = Path(name) / "lent", Path(name) / "data"
        for number in range(num_files):
            _put(lent, number, "made")
        async with _kernel(data, lent) as (kernel, ask):
            taken_in = await _cpu_ms(_mounted(kernel, ask), num_files)
            changed = await _changes(kernel, ask, lent, num_changes)
        async with _kernel(data, lent) as (kernel, _):
            again = await _cpu_ms(kernel.idle(), num_files)
    return [
        {"what": f"a directory of {num_files:,} files taken in, a file", "cpu ms": taken_in},
        {"what": "a start over it, nothing changed, a file", "cpu ms": again},
        *changed,
    ]


@asynccontextmanager
async def _kernel(data: Path, lent: Path) -> AsyncIterator[tuple[Kernel, Ask]]:
    mounts = (MountConfig(name=LENT, path=lent, write=True),)
    async with kernel_at_once(data, access=AccessConfig(mount="allow"), mounts=mounts) as kernel:
        token = await spawn(kernel, "keeper")

        async def ask(call: sc.SystemCall) -> Any:
            return await kernel.trap(token, call)

        yield kernel, ask


async def _mounted(kernel: Kernel, ask: Ask) -> None:
    await ask(sc.StorageMount(name=LENT, folder="m", write=True))
    await kernel.idle()


async def _changes(kernel: Kernel, ask: Ask, lent: Path, num_changes: int) -> list[dict[str, Any]]:
    numbers = range(num_changes)

    async def here(folder: str) -> None:
        for number in numbers:
            await ask(sc.StorageWrite(path=f"{folder}/{_path(number)}", content=_text(number, "here")))
            await kernel.idle()

    async def there() -> None:
        for number in numbers:
            _put(lent, number, "there")
            read = await ask(sc.StorageRead(path=f"m/{_path(number)}"))
            assert read.content == _text(number, "there")

    async def read(paths: Iterable[str]) -> None:
        for path in paths:
            await ask(sc.StorageRead(path=path))

    return [
        {"what": "a write elsewhere", "cpu ms": await _cpu_ms(here("own"), num_changes)},
        {"what": "a write until it is in the directory", "cpu ms": await _cpu_ms(here("m"), num_changes)},
        {"what": "a change in the directory, and a read", "cpu ms": await _cpu_ms(there(), num_changes)},
        {
            "what": "a read in the mount",
            "cpu ms": await _cpu_ms(read(f"m/{_path(number)}" for number in numbers), num_changes),
        },
        {
            "what": "a read elsewhere",
            "cpu ms": await _cpu_ms(read(f"own/{_path(number)}" for number in numbers), num_changes),
        },
    ]


async def _cpu_ms(work: Awaitable[None], times: int) -> float:
    """Milliseconds of this process's processor time for each of so many times."""
    begin = time.process_time()
    await work
    return round(1000 * (time.process_time() - begin) / times, 3)


def _put(lent: Path, number: int, what: str) -> None:
    path = lent / _path(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(number, what))


def _path(number: int) -> str:
    return f"{number // FOLDER_FILES:04}/{number % FOLDER_FILES:02}.md"


def _text(number: int, what: str) -> str:
    return f"{number} {what} {'word ' * LETTERS}"[:LETTERS]
