"""`aios bench storage`: acknowledged file writes beside the store's own floor, and growth to 100,000 files.

Fifty agents write through the SDK into a kernel in this process. The floor is as many writers of bare rows of
the same size over the same store code, in the same run and in turn with them. What grows with the files is
one agent's tree beside a million notes: time, memory, disk, and how long a kernel takes to be ready over it.
Then, whether the right file is found, and what a mounted directory costs. The machine may be paused from
outside: the column `paused` says how much it was, and `cpu µs` what a write takes of a processor, which
depends less on that.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct

from aios.abi import syscalls as sc
from aios.bench.floor import bare_rows
from aios.bench.idle import resident_bytes
from aios.bench.mounting import mounting
from aios.bench.notes.notebook import notebook, spawn
from aios.bench.pauses import Pauses
from aios.bench.peer import kernel_at_once
from aios.bench.recall import recall
from aios.bench.report import Goal, Progress, Result, Spread, spread
from aios.bench.slices import Call, quieter_half, rates
from aios.kernel.kernel import Kernel
from aios.sdk.transport import InProcess

AGENTS = 50
LETTERS = 400
"""Of a file: a note of some lines."""
FILES_KEPT = 20
"""Of an agent that overwrites or appends, in turn."""
MOST_STARTUP_S = 1.0
FOLDER_FILES = 100
LOOKS = 50
"""How often a read, a listing and a start are timed at each size."""
STARTS = 5

Content = Callable[[], str]


class Pace(Struct, frozen=True):
    """How much is measured."""

    slices: int
    span_s: float
    cpu_rounds: int
    sizes: tuple[int, ...]
    """Files at which growth is looked at."""
    num_notes: int
    num_found: int
    """Files among which one is looked for,"""
    num_questions: int
    """and how often."""
    num_mounted: int
    """Files of a mounted directory,"""
    num_changes: int
    """and how many of them are changed, on either side."""


QUICK = Pace(
    *(4, 0.3, 12, (500, 2_000), 2_000), num_found=500, num_questions=30, num_mounted=200, num_changes=20
)
FULL = Pace(
    *(24, 0.5, 60, (1_000, 10_000, 30_000, 100_000), 1_000_000),
    num_found=20_000,
    num_questions=100,
    num_mounted=2_000,
    num_changes=200,
)


def run(quick: bool, seed: int, progress: Progress) -> Result:
    return asyncio.run(_measure(QUICK if quick else FULL, quick, seed, progress))


async def _measure(pace: Pace, quick: bool, seed: int, progress: Progress) -> Result:
    pauses = Pauses()
    words = _words(seed)
    speed = await _speed(pace, words, pauses, progress)
    growth = await _growth(pace, words, pauses, progress)
    found = await _found(pace, words, seed, progress)
    mounted = await mounting(pace.num_mounted, pace.num_changes, progress)
    rows = [*speed, *growth, *found, *mounted]
    for row in rows:
        row["paused"] = round(pauses.share, 2)
    goals = {
        "storage.writes_per_second": Goal(speed[0]["per s"], speed[0]["floor/s"], quick),
        "storage.startup_seconds": Goal(growth[-1]["ready s"], MOST_STARTUP_S, quick),
    }
    return Result(rows, goals)


async def _found(pace: Pace, content: Content, seed: int, progress: Progress) -> list[dict[str, Any]]:
    progress(f"storage: {pace.num_questions} questions about {pace.num_found:,} files, asked in each way")
    with tempfile.TemporaryDirectory(prefix="aios-storage-") as folder:
        async with _agents(Path(folder), 1) as calls:
            return await recall(calls[0], content, seed, pace.num_found, pace.num_questions)


def _words(seed: int) -> Content:
    """Texts of `LETTERS` letters, no two alike."""
    rng = Random(seed)
    known = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(5_000)]
    numbers = count()

    def text() -> str:
        return f"{next(numbers)} {' '.join(rng.choices(known, k=LETTERS // 5))}"[:LETTERS]

    return text


# ---- writes a second


async def _speed(pace: Pace, content: Content, pauses: Pauses, progress: Progress) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory(prefix="aios-storage-") as folder:
        async with _agents(Path(folder), AGENTS) as calls, bare_rows(Path(folder), LETTERS) as bare:
            for name, make in _KINDS.items():
                progress(f"storage: {AGENTS} agents, {name}")
                pauses.look(0.5)
                ours = [partial(_made, call, make(content, count())) for call in calls]
                floor = [bare] * AGENTS
                row = _speed_row(name, await rates(ours, floor, pace.span_s, pace.slices))
                row["cpu µs"] = round((await _cpu_us(ours, pace.cpu_rounds)).median)
                row["floor µs"] = round((await _cpu_us(floor, pace.cpu_rounds)).median)
                rows.append(row)
    return rows


async def _cpu_us(calls: Sequence[Call], rounds: int) -> Spread:
    """Processor microseconds of this process for each of `calls`, all made together."""
    found = []
    for _ in range(rounds):
        begin = time.process_time()
        await asyncio.gather(*(call() for call in calls))
        found.append(1e6 * (time.process_time() - begin) / len(calls))
    return quieter_half(found)


def _speed_row(name: str, found: Sequence[tuple[float, float]]) -> dict[str, Any]:
    ours, floor = spread([mine for mine, _ in found]), spread([bare for _, bare in found])
    share = spread([mine / bare for mine, bare in found])
    return {
        "what": f"{AGENTS} agents, {name}",
        "per s": round(ours.median),
        "spread": str(ours),
        "floor/s": round(floor.median),
        "of floor": round(share.median, 3),
        "best of floor": round(share.high, 3),
    }


async def _made(call: Callable[[sc.SystemCall], Any], make: Callable[[], sc.SystemCall]) -> None:
    await call(make())


def _new(content: Content, numbers: "count[int]") -> Callable[[], sc.SystemCall]:
    return lambda: sc.StorageWrite(path=_path(next(numbers)), content=content())


def _overwritten(content: Content, numbers: "count[int]") -> Callable[[], sc.SystemCall]:
    return lambda: sc.StorageWrite(path=f"over/{next(numbers) % FILES_KEPT}.md", content=content())


def _appended(content: Content, numbers: "count[int]") -> Callable[[], sc.SystemCall]:
    return lambda: sc.StorageAppend(path=f"log/{next(numbers) % FILES_KEPT}.md", content=content())


_KINDS = {"new files": _new, "files overwritten": _overwritten, "files appended to": _appended}


def _path(number: int) -> str:
    return f"{number // FOLDER_FILES:05}/{number % FOLDER_FILES:02}.md"


# ---- growth


async def _growth(pace: Pace, content: Content, pauses: Pauses, progress: Progress) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="aios-storage-") as name:
        folder = Path(name)
        progress(f"storage: {pace.num_notes} notes")
        async with notebook(folder) as kernel:
            call = partial(InProcess(kernel.trap).call, await spawn(kernel, "keeper"))
            await _add_notes(call, pace.num_notes, content)
        before = 0
        resident = resident_bytes()
        for size in pace.sizes:
            progress(f"storage: {size} files beside {pace.num_notes} notes")
            pauses.look(0.5)
            async with _agents(folder, AGENTS, principal="owner") as calls:
                began = time.perf_counter()
                await _add_files(calls, before, size, content)
                took = time.perf_counter() - began
                row = {"what": f"{size:,} files", "per s": round((size - before) / took)}
                row |= await _looked(calls[0], size)
                row["MiB more"] = round((resident_bytes() - resident) / 2**20, 1)
            row["disk MiB"] = round(_on_disk(folder) / 2**20, 1)
            row["ready s"] = round(await _ready_s(folder), 3)
            rows.append(row)
            before = size
    return rows


async def _add_notes(call: Callable[[sc.SystemCall], Any], num_notes: int, content: Content) -> None:
    page = 1000
    for begin in range(0, num_notes, page):
        records = tuple(sc.NoteRecord(text=content()[:120]) for _ in range(min(page, num_notes - begin)))
        await call(sc.MemoryLoad(notes=records))


async def _add_files(
    calls: Sequence[Callable[[sc.SystemCall], Any]], begin: int, end: int, content: Content
) -> None:
    numbers = iter(range(begin, end))

    async def write(call: Callable[[sc.SystemCall], Any]) -> None:
        for number in numbers:
            await call(sc.StorageWrite(path=_path(number), content=content()))

    await asyncio.gather(*map(write, calls))


async def _looked(call: Callable[[sc.SystemCall], Any], num_files: int) -> dict[str, float]:
    """Median milliseconds of a read, a folder's page and a whole tree's first page."""
    paths = [_path(num_files * look // LOOKS) for look in range(LOOKS)]
    read = [await _timed(partial(call, sc.StorageRead(path=path))) for path in paths]
    folders = [sc.StorageList(folder=path.partition("/")[0]) for path in paths]
    listed = [await _timed(partial(call, one)) for one in folders]
    return {"read ms": round(spread(read).median, 2), "list ms": round(spread(listed).median, 2)}


async def _timed(call: Call) -> float:
    begin = time.perf_counter()
    await call()
    return 1000 * (time.perf_counter() - begin)


async def _ready_s(folder: Path) -> float:
    """How long a kernel takes to be ready over the folder: the shortest of some starts, for pauses add."""
    found = []
    for _ in range(STARTS):
        begin = time.perf_counter()
        async with kernel_at_once(folder):
            found.append(time.perf_counter() - begin)
    return min(found)


def _on_disk(folder: Path) -> int:
    """Bytes of the database, once its log is in it."""
    return sum(path.stat().st_size for path in folder.glob("aios.db*"))


@asynccontextmanager
async def _agents(
    folder: Path, num_agents: int, principal: str | None = None
) -> AsyncIterator[list[Callable[[sc.SystemCall], Any]]]:
    """A kernel, and what makes a call of each of its agents."""
    async with kernel_at_once(folder) as kernel:
        transport = InProcess(kernel.trap)
        tokens = [await _spawned(kernel, index, principal) for index in range(num_agents)]
        yield [partial(transport.call, token) for token in tokens]


async def _spawned(kernel: Kernel, index: int, principal: str | None) -> str:
    spawn = sc.ProcessSpawn(agent=f"agent-{index}", principal=principal)
    reply = await kernel.trap(kernel.operator_token, spawn)
    assert isinstance(reply, sc.Spawned)
    return reply.token
