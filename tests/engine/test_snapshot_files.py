"""Snapshots on disk: found again by their job, refused when they are damaged or another model's."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from aios.abi.messages import Beams, Message, Sampling
from aios.drivers.engine import Engine
from aios.drivers.engine_frames import Event, Export, Moved, Parked, Preempt, Progress, Submit
from aios.drivers.llm import Finished, Generation, Snapshot
from aios.drivers.models.chat import ChatFormat
from aios.drivers.models.decoder import Decoder
from aios.drivers.snapshot_files import SnapshotFiles

JOB = Generation(
    (Message("user", "What is the weather in the capital, and who reads the note about it again?"),),
    (),
    Sampling(temperature=1.0, seed=4, max_tokens=40),
    is_kept=True,
)
SEVERAL = structs.replace(JOB, sampling=Sampling(temperature=1.2, seed=9, n=3, max_tokens=40, logprobs=1))
SEARCHED = structs.replace(JOB, sampling=Sampling(beams=Beams(3), n=2, max_tokens=30))


class Place:
    """Engines one after another over one folder."""

    def __init__(self, model: Path, folder: Path, snapshot_bytes: int = 1 << 24) -> None:
        self._model, self.folder, self._snapshot_bytes = model, folder, snapshot_bytes

    def engine(self) -> Engine:
        decoder = Decoder.load(self._model)
        return Engine(
            decoder,
            ChatFormat(self._model / "tokenizer.model"),
            model="tiny",
            slots=4,
            cache_bytes=1 << 20,
            snapshot_bytes=self._snapshot_bytes,
            files=SnapshotFiles(self.folder, decoder.identity, 1 << 26),
        )

    def files(self) -> list[Path]:
        return list(self.folder.iterdir())


@pytest.fixture
def place(model_folder: Path, tmp_path: Path) -> Place:
    return Place(model_folder, tmp_path / "snapshots")


def finished(events: list[Event]) -> Finished:
    return next(
        event.finished for event in events if isinstance(event, Progress) and event.finished is not None
    )


def text(events: list[Event]) -> str:
    said = [event for event in events if isinstance(event, Progress)]
    return "".join(delta.text for event in said for delta in event.deltas if not delta.index)


def to_the_end(engine: Engine, job: Generation, resume: Snapshot | None = None) -> list[Event]:
    events = engine.turn([Submit(1, job, resume)])
    while engine.is_busy:
        events += engine.turn([])
        engine.check()
    return events


def begun(engine: Engine, job: Generation, steps: int) -> list[Event]:
    return [event for step in range(steps) for event in engine.turn([] if step else [Submit(1, job)])]


@pytest.mark.parametrize("steps", [0, 1, 9, 25])
@pytest.mark.parametrize("job", [JOB, SEVERAL, SEARCHED])
def test_what_an_engine_left_is_gone_on_with_by_the_next(place: Place, job: Generation, steps: int) -> None:
    expected = finished(to_the_end(place.engine(), job))
    first = place.engine()
    begun(first, job, steps)
    first.save()
    second = place.engine()
    events = to_the_end(second, job)
    assert structs.replace(finished(events), usage=expected.usage) == expected
    assert text(events) == expected.text  # all of it: who asks now has seen nothing
    assert second.statistics().restored == bool(steps)
    assert place.files() == []


def test_only_what_may_be_asked_for_again_is_left(place: Place) -> None:
    engine = place.engine()
    begun(engine, structs.replace(JOB, is_kept=False), 9)
    engine.save()
    assert place.files() == []


def parked(engine: Engine, job: Generation, steps: int) -> tuple[str, Snapshot]:
    events = begun(engine, job, steps)
    (event,) = engine.obey(Preempt(1))
    assert isinstance(event, Parked)
    return text(events), event.snapshot


def reasons(engine: Engine) -> list[str]:
    return [event.reason for event in engine.turn([]) if isinstance(event, Moved)]


@pytest.mark.parametrize("job", [JOB, SEVERAL, SEARCHED])
def test_a_run_moves_to_the_engine_of_another_core(place: Place, job: Generation) -> None:
    expected = finished(to_the_end(place.engine(), job))
    first, second = place.engine(), place.engine()
    shown, snapshot = parked(first, job, 12)
    first.obey(Export(0, snapshot.handle))
    assert first.statistics().snapshots == 0
    events = to_the_end(second, job, snapshot)
    assert shown + text(events) == expected.text == finished(events).text
    assert (second.statistics().restored, second.statistics().replays) == (1, 0)


def test_what_memory_has_no_room_for_goes_to_disk_and_comes_back(model_folder: Path, tmp_path: Path) -> None:
    place = Place(model_folder, tmp_path / "snapshots", snapshot_bytes=0)
    engine = place.engine()
    engine._pace.took("token", 1.0, 1)  # a slow model: computing again would take longer
    shown, snapshot = parked(engine, JOB, 12)
    assert len(place.files()) == 1
    assert engine.statistics().snapshot_bytes == 0
    assert reasons(engine)[0].startswith("swapped: to disk and back ")
    events = to_the_end(engine, JOB, snapshot)
    assert shown + text(events) == finished(events).text
    assert engine.statistics().replays == 0


def test_what_is_computed_faster_than_read_is_dropped(model_folder: Path, tmp_path: Path) -> None:
    place = Place(model_folder, tmp_path / "snapshots", snapshot_bytes=0)
    engine = place.engine()
    engine._pace.took("disk", 1000.0, 1)  # a slow disk
    shown, snapshot = parked(engine, JOB, 12)
    assert place.files() == []
    assert reasons(engine)[0].startswith("dropped: to disk and back ")
    events = to_the_end(engine, JOB, snapshot)
    assert shown + text(events) == finished(events).text
    assert engine.statistics().replays == 1


def _flipped(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _newer(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[6] = 99
    path.write_bytes(body)


def _foreign(path: Path) -> None:
    path.write_bytes(b"nothing that was ever a snapshot, but long enough to be one")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_flipped, "does not match its checksum"),
        (_cut, "does not match its checksum"),
        (_newer, "is of form 99"),
        (_foreign, "is no snapshot"),
    ],
)
def test_a_damaged_snapshot_is_told_and_computed_again(
    place: Place, spoil: Callable[[Path], None], reason: str
) -> None:
    expected = finished(to_the_end(place.engine(), JOB))
    engine = place.engine()
    begun(engine, JOB, 9)
    engine.save()
    (path,) = place.files()
    spoil(path)
    second = place.engine()
    assert finished(to_the_end(second, JOB)).text == expected.text
    assert reason in second.statistics().last_refused
    assert second.statistics().restored == 0


def test_another_models_snapshot_is_refused(
    place: Place, make_model: Callable[..., Path], model_folder: Path
) -> None:
    engine = place.engine()
    begun(engine, JOB, 9)
    engine.save()
    (path,) = place.files()
    other = Place(make_model(seed=5), place.folder)
    expected = finished(to_the_end(other.engine(), JOB))
    engine = other.engine()
    begun(engine, JOB, 5)
    engine.save()
    (name,) = {file.name for file in place.files()} - {path.name}
    path.rename(path.with_name(name))  # in the place of the other's own
    second = other.engine()
    assert finished(to_the_end(second, JOB)).text == expected.text
    assert "and this is" in second.statistics().last_refused


def test_a_prompt_that_is_written_otherwise_now_is_computed_again(place: Place) -> None:
    expected = finished(to_the_end(place.engine(), JOB))
    engine = place.engine()
    begun(engine, JOB, 9)
    engine.save()
    (path,) = place.files()
    files = SnapshotFiles(place.folder, Decoder.load(place._model).identity, 1 << 26)
    taken = files.take(path.name)
    assert taken is not None
    described, arrays = taken
    files.write(path.name, structs.replace(described, prompt="another"), arrays)
    second = place.engine()
    assert finished(to_the_end(second, JOB)).text == expected.text
    assert "in other tokens" in second.statistics().last_refused
    assert second.statistics().restored == 0


def test_a_full_disk_loses_nothing_but_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = finished(to_the_end(place.engine(), JOB))
    place = Place(place._model, place.folder, snapshot_bytes=0)
    engine = place.engine()
    engine._pace.took("token", 1.0, 1)
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        write(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    _, snapshot = parked(engine, JOB, 9)
    assert place.files() == []
    assert "No space left" in reasons(engine)[0]
    assert finished(to_the_end(engine, JOB, snapshot)).text == expected.text


def test_the_oldest_go_where_the_folder_is_full(tmp_path: Path, place: Place) -> None:
    engine = place.engine()
    begun(engine, JOB, 9)
    engine.save()
    (path,) = place.files()
    size = path.stat().st_size
    files = SnapshotFiles(place.folder, "other", int(2.5 * size))
    taken = SnapshotFiles(place.folder, Decoder.load(place._model).identity, 1 << 26).take(path.name)
    assert taken is not None
    described, arrays = taken
    for name in ("a", "b", "c"):
        files.write(name, described, arrays)
    assert {file.name for file in place.files()} == {"b", "c"}
    assert "a" not in files
