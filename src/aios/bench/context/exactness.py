"""Whether an interrupted generation gives the tokens of an uninterrupted one.

Groups of cases run side by side in two engines over one folder of snapshots. After each step chance has runs
interrupted, and goes on with them in the same engine or in the other one (moved through disk, or begun anew
there), and ends an engine as a killed kernel ends it, for its runs to be asked for again from the next one.
How much memory, cache and room there is is drawn for each group. Each answer is compared, token for token
and piece for piece, with the one that an engine gives that has nothing else to do.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Struct, structs

from aios.bench.apart import print_measured
from aios.bench.context.cases import WIDEST, drawn
from aios.drivers.engine import Engine
from aios.drivers.engine_frames import Event, Export, Failed, Load, Parked, Preempt, Progress, Submit
from aios.drivers.engine_models import load_model
from aios.drivers.llm import Finished, Generation, Snapshot
from aios.drivers.models.huggingface import missing
from aios.drivers.models.model import Chat, Model
from aios.drivers.snapshot_files import SnapshotFiles

GROUP = 24
"""Cases that run side by side."""


class Case(Struct, eq=False):
    """A case on its way."""

    kind: str
    job: Generation
    text: str = ""
    """What was shown of its first answer."""
    quantum: int = 1
    place: int | None = None
    """The engine that runs it; None while it waits."""
    home: int | None = None
    """The engine that goes on with it."""
    snapshot: Snapshot | None = None
    finished: Finished | None = None
    doings: Counter[str] = Counter()


class Group:
    """Two engines, and cases that go from one to the other."""

    def __init__(
        self, model: tuple[Model[Any], Chat], cases: Sequence[Case], random: Random, folder: Path
    ) -> None:
        self._model, self._cases, self._random, self._folder = model, cases, random, folder
        self._slots = random.choice((WIDEST, 7, 24))
        self._cache_bytes = random.choice((0, 1 << 20, 1 << 26))
        self._snapshot_bytes = random.choice((0, 1 << 20, 1 << 28))
        self._kv_tokens = random.choice((0, 0, 400))
        self._engines = [self._engine(), self._engine()]

    def run(self) -> None:
        """To the end of all cases."""
        while any(case.finished is None for case in self._cases):
            self._submit()
            for place, engine in enumerate(self._engines):
                if engine.is_busy:
                    self._take(place, engine.step())
            self._interrupt()
            if self._random.random() < 0.02:
                self._restart(self._random.randrange(2))
        for engine in self._engines:
            engine.check()

    def _engine(self) -> Engine:
        model, chat = self._model
        return Engine(
            model,
            chat,
            model="embedded",
            slots=self._slots,
            cache_bytes=self._cache_bytes,
            snapshot_bytes=self._snapshot_bytes,
            kv_tokens=self._kv_tokens,
            files=SnapshotFiles(self._folder, model.identity, 1 << 30),
        )

    def _submit(self) -> None:
        waiting = [run for run, case in enumerate(self._cases) if case.place is None and not case.finished]
        self._random.shuffle(waiting)
        for run in waiting:
            case = self._cases[run]
            place = self._random.randrange(2) if case.home is None else case.home
            if self._random.random() < 0.05:
                place = 1 - place  # there it is begun anew, unless it lies on disk
            statistics = self._engines[place].statistics()
            if statistics.running + statistics.waiting < self._slots:
                case.place = case.home = place
                self._take(place, self._engines[place].obey(Submit(run, case.job, case.snapshot)))

    def _take(self, place: int, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Progress(run, _, deltas, finished):
                    case = self._cases[run]
                    case.text += "".join(delta.text for delta in deltas if not delta.index)
                    if finished is not None:
                        case.finished, case.place = finished, None
                case Parked(run, snapshot):
                    self._parked(place, self._cases[run], snapshot)
                case Failed(run, error):
                    raise AssertionError(f"{self._cases[run].job} failed: {error.message}")
                case _:
                    pass

    def _parked(self, place: int, case: Case, snapshot: Snapshot) -> None:
        case.place, case.snapshot = None, snapshot
        case.doings["interrupted"] += 1
        if self._random.random() < 0.15:
            case.doings["moved"] += 1
            case.home = 1 - place
            self._engines[place].obey(Export(0, snapshot.handle))

    def _interrupt(self) -> None:
        for run, case in enumerate(self._cases):
            if case.place is not None and self._random.random() < 1 / case.quantum:
                self._take(case.place, self._engines[case.place].obey(Preempt(run)))

    def _restart(self, place: int) -> None:
        """The engine ends as when its kernel is killed. Who asked it asks again, and knows nothing."""
        self._engines[place].save()
        self._engines[place] = self._engine()
        for case in self._cases:
            if case.place == place:
                case.place, case.snapshot, case.text = None, None, ""
                case.doings["restarted"] += 1


def measure(folder: Path, quick: bool, seed: int) -> dict[str, Any]:
    """Rows by core and kind, and the share that was exact on the embedded core.

    Where torch is installed, the same weights are computed by it, too, in each of its formats.
    """
    num_cases = 10 * GROUP if quick else 10_000
    model = load_model(Load(str(folder), "embedded", 1, 0, 0))
    rows, share = _measured("numpy", model, num_cases, seed)
    for name, torch_model in _by_torch(folder, model[1]):
        rows += _measured(name, torch_model, num_cases // 10, seed)[0]
    return {"rows": rows, "goals": {"context.exact": {"value": share, "bound": 1.0, "quick": quick}}}


def _by_torch(folder: Path, chat: Chat) -> Iterator[tuple[str, tuple[Model[Any], Chat]]]:
    if absent := missing():
        print(f"context: nothing is computed by torch: {absent}", file=sys.stderr, flush=True)
        return
    import torch

    from aios.drivers.models.huggingface.decoder import TorchDecoder

    for name, dtype in (("torch, float32", torch.float32), ("torch, bfloat16", torch.bfloat16)):
        yield name, (TorchDecoder.load(folder, dtype, torch.device("cpu")), chat)


def _measured(
    core: str, model: tuple[Model[Any], Chat], num_cases: int, seed: int
) -> tuple[list[dict[str, Any]], float]:
    """Rows by kind, and the share that was exact."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for start in range(0, num_cases, GROUP):
        random = Random(f"group {seed} {start}")
        numbers = range(seed * num_cases + start, seed * num_cases + min(start + GROUP, num_cases))
        cases = [
            Case(kind, job, quantum=random.choice((4, 8, 16)), doings=Counter())
            for kind, job in map(drawn, numbers)
        ]
        with TemporaryDirectory(prefix="aios-context-") as snapshots:
            Group(model, cases, random, Path(snapshots)).run()
        for case in cases:
            row = found[case.kind]
            row.update(case.doings)
            row["cases"] += 1
            row["exact"] += _is_exact(model, case)
        done, exact = (sum(row[name] for row in found.values()) for name in ("cases", "exact"))
        print(f"context: {core}: {done} of {num_cases}, {exact} exact", file=sys.stderr, flush=True)
    names = ("cases", "exact", "interrupted", "moved", "restarted")
    rows = [
        {"core": core, "kind": kind, **{name: row[name] for name in names}}
        for kind, row in sorted(found.items())
    ]
    return rows, sum(row["exact"] for row in found.values()) / num_cases


def _is_exact(model: tuple[Model[Any], Chat], case: Case) -> bool:
    assert case.finished is not None
    alone = Engine(*model, model="embedded", slots=WIDEST, cache_bytes=0, snapshot_bytes=0)
    alone.obey(Submit(1, case.job, None))
    expected = None
    while alone.is_busy:
        for event in alone.step():
            if isinstance(event, Progress) and event.finished is not None:
                expected = event.finished
    found = structs.replace(case.finished, usage=case.finished.usage)
    assert expected is not None
    is_same = structs.replace(found, usage=expected.usage) == expected
    return (
        is_same
        and found.usage.completion_tokens == expected.usage.completion_tokens
        and (case.text == expected.text)
    )


if __name__ == "__main__":
    print_measured(measure)
