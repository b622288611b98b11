"""The engine's loop between its two pipes."""

from pathlib import Path

from msgspec import structs

from aios.abi.messages import Delta, Message, Sampling
from aios.abi.wire import FrameReader
from aios.drivers.engine import Engine
from aios.drivers.engine_frames import (
    MAX_FRAME,
    Command,
    Event,
    Failed,
    Load,
    Progress,
    RunEvent,
    Submit,
    decode_events,
)
from aios.drivers.engine_process import CommandPipe, serve
from aios.drivers.llm import Generation

JOB = Generation((Message("user", "hello"),), sampling=Sampling(seed=4, max_tokens=3))


class NothingMore(CommandPipe):
    """An input that ends once there is no work left."""

    def __init__(self) -> None:
        pass

    def read(self, *, wait: bool) -> list[Command]:
        if wait:
            raise EOFError
        return []


class Garbling(Engine):
    """An engine whose first run says what no frame can hold."""

    def step(self) -> list[RunEvent]:
        return [
            structs.replace(event, deltas=(Delta("\ud800"),))
            if isinstance(event, Progress) and event.run == 1
            else event
            for event in super().step()
        ]


def test_an_event_that_no_frame_can_hold_fails_its_run_and_no_other(
    model_folder: Path, tmp_path: Path
) -> None:
    engine = Garbling.load(Load(str(model_folder), "tiny", 2, 0, 0))
    with (tmp_path / "events").open("w+b", buffering=0) as output:
        serve(engine, [Submit(1, JOB), Submit(2, JOB)], NothingMore(), output.fileno())
        output.seek(0)
        frames = [decode_events(body) for body in FrameReader(MAX_FRAME).feed(output.read())]
    events: list[Event] = [event for frame in frames for event in frame]
    assert [event.run for event in events if isinstance(event, Failed)] == [1]
    said = [event for event in events if isinstance(event, Progress)]
    assert {event.run for event in said} == {2}
    assert said[-1].finished is not None
    assert said[-1].finished.usage.completion_tokens == 3
