"""The engine's promise: an interrupted generation gives the tokens of an uninterrupted one, always."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.abi.errors import ContextOverflow, InvalidArgument, Overloaded
from aios.abi.messages import Beams, Message, Sampling, ToolSpec
from aios.drivers.engine import Engine
from aios.drivers.engine_frames import (
    Cancel,
    Count,
    Counted,
    Drop,
    Event,
    Failed,
    Load,
    Parked,
    Preempt,
    Progress,
    Submit,
)
from aios.drivers.llm import Finished, Generation, Snapshot
from aios.drivers.llm_local import EMBEDDED_MODEL
from aios.drivers.models.chat import ChatFormat
from aios.drivers.models.decoder import Decoder
from aios.drivers.models.kv_row import BLOCK
from aios.drivers.snapshot_files import SnapshotFiles

_TOOLS = (
    ToolSpec("add", "adds two numbers", {"type": "object", "properties": {"x": {"type": "string"}}}),
    ToolSpec("note", "keeps a note", {"type": "object", "properties": {"text": {"type": "string"}}}),
)
_WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "writes",
    "a",
    "note",
    "about",
    "the",
    "weather",
    "and",
    "reads",
    "it",
]


class SpelledFormat(ChatFormat):
    """Says every token as its number, so that equal texts are equal tokens."""

    def surface(self, token: int) -> bytes:
        return f"[{token}]".encode() if super().surface(token) else b""


class Bench:
    """An engine with all that came out of it, by run."""

    def __init__(
        self,
        decoder: Decoder,
        chat: ChatFormat,
        slots: int,
        cache_bytes: int,
        snapshot_bytes: int,
        kv_tokens: int = 0,
        folder: Path | None = None,
    ) -> None:
        self.engine = Engine(
            decoder,
            chat,
            model="tiny",
            slots=slots,
            cache_bytes=cache_bytes,
            snapshot_bytes=snapshot_bytes,
            kv_tokens=kv_tokens,
            files=None if folder is None else SnapshotFiles(folder, decoder.identity, 1 << 26),
        )
        self.texts: dict[int, str] = {}
        self.slices: dict[int, int] = {}
        self.finished: dict[int, Finished] = {}
        self.parked: dict[int, Snapshot] = {}
        self.failed: dict[int, str] = {}

    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Progress(run, num_tokens, deltas, finished):
                    shown = "".join(delta.text for delta in deltas if not delta.index)
                    self.texts[run] = self.texts.get(run, "") + shown
                    self.slices[run] = num_tokens
                    if finished is not None:
                        self.finished[run] = finished
                case Parked(run, snapshot):
                    self.parked[run] = snapshot
                case Failed(run, error):
                    self.failed[run] = error.code
        self.engine.check()

    def submit(self, run: int, job: Generation, resume: Snapshot | None = None) -> None:
        self.take(self.engine.obey(Submit(run, job, resume)))

    def step(self) -> None:
        self.take(self.engine.step())

    def run(self, job: Generation) -> Finished:
        self.submit(1, job)
        while 1 not in self.finished:
            assert not self.failed
            self.step()
        return self.finished[1]


@pytest.fixture(scope="module")
def decoder(model_folder: Path) -> Decoder:
    return Decoder.load(model_folder)


@pytest.fixture(scope="module")
def chat(model_folder: Path) -> ChatFormat:
    return SpelledFormat(model_folder / "tokenizer.model")


@pytest.fixture(scope="module")
def expected_of(decoder: Decoder, chat: ChatFormat) -> Callable[[Generation], Finished]:
    """The answer of a run that is alone and never interrupted."""
    known: dict[str, Finished] = {}

    def expected(each: Generation) -> Finished:
        key = repr(each)
        if key not in known:
            known[key] = Bench(decoder, chat, each.sampling.width, 0, 0).run(each)
        return known[key]

    return expected


def job(index: int, **sampling: object) -> Generation:
    """Jobs with a common beginning, of lengths around the multiples of a block."""
    system = " ".join(_WORDS)
    words = " ".join(_WORDS[i * index % len(_WORDS)] for i in range(1 + 7 * (index % 4)))
    messages = (Message("system", system), Message("user", words))
    return Generation(
        messages, _TOOLS if index % 2 else (), Sampling(**{"seed": index, "max_tokens": 14} | sampling)
    )  # type: ignore[arg-type]


_SAMPLINGS = st.sampled_from(
    [
        {},
        {"temperature": 0.7},
        {"temperature": 1.5, "top_k": 20},
        {"temperature": 1.0, "top_p": 0.8, "max_tokens": 25},
        {"temperature": 2.0, "stop": ("1]", "][3")},
        {"temperature": 1.0, "min_p": 0.2, "repetition_penalty": 1.3},
        {"presence_penalty": 1.0, "frequency_penalty": 0.5, "logit_bias": {300: 4.0, 17: -100.0}},
        {"temperature": 1.2, "logprobs": 2},
        {"temperature": 1.0, "n": 3},
        {"temperature": 1.3, "n": 2, "logprobs": 1, "stop": ("1]",)},
        {"beams": Beams(3), "n": 2},
        {"beams": Beams(2, -1.0, "never"), "logprobs": 1, "repetition_penalty": 1.2},
        {"beams": Beams(3, 2.0, True), "n": 3, "stop": ("1]", "][3")},
    ]
)


def same(one: Finished, other: Finished) -> bool:
    return (one.text, one.tool_calls, one.finish_reason, one.logprobs, one.others) == (
        other.text,
        other.tool_calls,
        other.finish_reason,
        other.logprobs,
        other.others,
    ) and (one.usage.completion_tokens == other.usage.completion_tokens)


@settings(max_examples=12)
@given(data=st.data())
def test_an_interrupted_generation_equals_the_uninterrupted_one(
    decoder: Decoder, chat: ChatFormat, expected_of: Callable[[Generation], Finished], data: st.DataObject
) -> None:
    jobs = [job(i, **data.draw(_SAMPLINGS)) for i in range(data.draw(st.integers(1, 10)))]
    slots = data.draw(st.sampled_from([3, 4, 9]))
    cache_bytes, snapshot_bytes = (data.draw(st.sampled_from([0, 60_000, 1 << 30])) for _ in range(2))
    kv_tokens = data.draw(st.sampled_from([0, 150, 400]))
    quanta = [data.draw(st.integers(1, 12)) for _ in jobs]
    with TemporaryDirectory() as folder:
        disk = Path(folder) if data.draw(st.booleans()) else None
        bench = Bench(decoder, chat, slots, cache_bytes, snapshot_bytes, kv_tokens, disk)
        run_interrupted(bench, jobs, quanta, slots, data.draw(st.randoms(use_true_random=False)))
    for run, each in enumerate(jobs):
        expected = expected_of(each)
        assert same(bench.finished[run], expected)
        assert bench.texts[run] == expected.text


def run_interrupted(
    bench: Bench, jobs: Sequence[Generation], quanta: Sequence[int], slots: int, random: Random
) -> None:
    """Run all jobs in slices of their quanta; who goes next is chance."""
    idle = list(range(len(jobs)))
    while len(bench.finished) < len(jobs):
        random.shuffle(idle)
        statistics = bench.engine.statistics()
        for _ in range(min(len(idle), slots + 1 - statistics.running - statistics.waiting)):
            run = idle.pop()
            bench.slices[run] = 0
            bench.submit(run, jobs[run], bench.parked.pop(run, None))
        bench.step()
        assert not bench.failed
        for run, quantum in enumerate(quanta):
            if bench.slices.get(run, 0) >= quantum and run not in bench.finished and run not in idle:
                bench.take(bench.engine.obey(Preempt(run)))
                assert run in bench.parked
                idle.append(run)


def test_an_answer_by_a_schema_is_interrupted_exactly(decoder: Decoder, model_folder: Path) -> None:
    plain = ChatFormat(model_folder / "tokenizer.model")
    add = ToolSpec("add", "", {"properties": {"x": {"type": "integer"}}, "required": ["x"]})
    schema = {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 2}
    jobs = [
        Generation(
            (Message("user", "hello"),),
            (add,) if index % 2 else (),
            Sampling(temperature=1.0, seed=index, max_tokens=60),
            "required" if index % 2 else "auto",
            None if index % 2 else schema,
        )
        for index in range(6)
    ]
    bench = Bench(decoder, plain, 3, 1 << 24, 1 << 24)
    run_interrupted(bench, jobs, [2, 3, 4, 5, 6, 7], 3, Random(1))
    for run, each in enumerate(jobs):
        found = Bench(decoder, plain, 1, 0, 0).run(each)
        assert same(bench.finished[run], found)
        assert found.tool_calls if run % 2 else len(json.loads(found.text)) >= 2


def test_the_real_model_is_interrupted_exactly() -> None:
    if not (EMBEDDED_MODEL / "model.safetensors").exists():
        pytest.skip("the weights are not there yet")
    decoder = Decoder.load(EMBEDDED_MODEL)
    chat = ChatFormat(EMBEDDED_MODEL / "tokenizer.model")
    jobs = [job(i, temperature=(0.0, 0.9)[i % 2], max_tokens=16) for i in range(6)]
    bench = Bench(decoder, chat, 3, 1 << 24, 1 << 24)
    run_interrupted(bench, jobs, [2, 3, 4, 5, 6, 7], 3, Random(1))
    for run, each in enumerate(jobs):
        assert same(bench.finished[run], Bench(decoder, chat, 1, 0, 0).run(each))


def test_a_prompt_seen_before_is_not_computed_again(decoder: Decoder, chat: ChatFormat) -> None:
    bench = Bench(decoder, chat, 2, 1 << 24, 0)
    first = bench.run(job(1))
    bench.finished.clear()
    again = bench.run(job(1))
    full_blocks = (first.usage.prompt_tokens - 1) // BLOCK * BLOCK
    assert first.usage.cached_tokens == 0
    assert again.usage.cached_tokens == full_blocks > 0
    assert same(first, again)


def test_a_burst_with_one_prefix_computes_it_once(decoder: Decoder, chat: ChatFormat) -> None:
    bench = Bench(decoder, chat, 8, 1 << 24, 0)
    for run in range(8):
        bench.submit(run, job(2))
    while len(bench.finished) < 8:
        bench.step()
    prompt = bench.finished[0].usage.prompt_tokens
    assert bench.engine.statistics().prefilled_tokens <= prompt + 7 * BLOCK


def test_a_free_row_takes_the_next_at_once_and_more_are_refused(decoder: Decoder, chat: ChatFormat) -> None:
    bench = Bench(decoder, chat, 2, 0, 0)
    for run in range(2):
        bench.submit(run, job(run, max_tokens=3 + 4 * run))
    bench.step()
    for run in range(2, 5):
        bench.submit(run, job(run))
    assert bench.failed == {4: Overloaded.code}
    while 0 not in bench.finished:
        bench.step()
    bench.step()
    assert bench.engine.statistics().running == 2
    assert bench.engine.statistics().waiting == 1


@pytest.mark.parametrize("steps", [0, 1, 3, 6])
def test_cancel_frees_the_row_wherever_the_run_is(decoder: Decoder, chat: ChatFormat, steps: int) -> None:
    bench = Bench(decoder, chat, 1, 0, 0)
    bench.submit(1, job(1, max_tokens=100))
    bench.submit(2, job(2, max_tokens=2)) if steps else None
    for _ in range(steps):
        bench.step()
    bench.take(bench.engine.obey(Cancel(1)))
    while bench.engine.is_busy:
        bench.step()
    assert 1 not in bench.finished
    assert (2 in bench.finished) == bool(steps)


def test_snapshots_free_their_memory_when_used_or_dropped(decoder: Decoder, chat: ChatFormat) -> None:
    bench = Bench(decoder, chat, 1, 1 << 24, 1 << 24)
    for run in range(6):
        bench.submit(run, job(run))
        while bench.slices.get(run, 0) < 4:
            bench.step()
        bench.take(bench.engine.obey(Preempt(run)))
    held = bench.engine.statistics().snapshot_bytes
    assert 0 < held <= sum(snapshot.num_bytes for snapshot in bench.parked.values())
    for run in range(3):
        bench.submit(run, job(run), bench.parked[run])
        while run not in bench.finished:
            bench.step()
    assert 0 < bench.engine.statistics().snapshot_bytes < held
    for run in range(6):
        bench.take(bench.engine.obey(Drop(bench.parked[run].handle)))
    assert bench.engine.statistics().snapshot_bytes == bench.engine.statistics().snapshots == 0


def test_a_lost_snapshot_is_replayed_and_shows_only_what_is_new(decoder: Decoder, chat: ChatFormat) -> None:
    expected = Bench(decoder, chat, 1, 0, 0).run(job(3, temperature=1.0))
    bench = Bench(decoder, chat, 1, 0, 1 << 24)
    bench.submit(1, job(3, temperature=1.0))
    while bench.slices.get(1, 0) < 5:
        bench.step()
    bench.take(bench.engine.obey(Preempt(1)))
    other = Bench(decoder, chat, 1, 0, 0)  # an engine that never saw the snapshot
    other.submit(1, job(3, temperature=1.0), bench.parked[1])
    while 1 not in other.finished:
        other.step()
    assert other.engine.statistics().replays == 1
    assert bench.texts[1] + other.texts[1] == expected.text
    assert other.slices[1] == expected.usage.completion_tokens - 5


def test_what_it_cannot_do_is_refused_before_anything_runs(decoder: Decoder, chat: ChatFormat) -> None:
    bench = Bench(decoder, chat, 1, 0, 0)
    bad = ToolSpec("bad", "", {"type": "object", "properties": 7})  # no JSON Schema
    jobs = {
        1: Generation((Message("user", "the weather " * 200),)),
        2: Generation((Message("user", "x" * 5_000_000),)),
        3: Generation((Message("user", "hello"),), response_schema={"enum": []}),
        4: Generation((Message("user", "hello"),), (bad,)),
    }
    for run, each in jobs.items():
        bench.submit(run, each)
    assert bench.failed == {
        1: ContextOverflow.code,
        2: ContextOverflow.code,
        3: InvalidArgument.code,
        4: InvalidArgument.code,
    }
    assert not bench.engine.is_busy


def test_a_bias_for_a_token_that_there_is_not_is_refused(decoder: Decoder, chat: ChatFormat) -> None:
    bench = Bench(decoder, chat, 1, 0, 0)
    bench.submit(0, job(0, logit_bias={chat.vocab_size: 1.0}))
    assert bench.failed[0] == "invalid_argument"


def test_likelihoods_are_told_for_each_token_of_the_text(
    chat: ChatFormat, expected_of: Callable[[Generation], Finished]
) -> None:
    plain = expected_of(job(2))
    told = expected_of(job(2, logprobs=3))
    assert told.text == plain.text
    assert not plain.logprobs
    assert "".join(token.token for token in told.logprobs) == told.text
    for token in told.logprobs:
        assert [other.logprob for other in token.top] == sorted((o.logprob for o in token.top), reverse=True)
        assert len(token.top) == 3
        assert token.logprob == token.top[0].logprob, "a greedy answer is of the likeliest"
        assert token.logprob < 0


def test_an_answer_goes_no_further_than_the_window(decoder: Decoder, chat: ChatFormat) -> None:
    messages = (Message("user", "the weather " * 70),)
    finished = Bench(decoder, chat, 1, 0, 0).run(
        Generation(messages, sampling=Sampling(seed=1, temperature=1.0))
    )
    usage = finished.usage
    assert usage.prompt_tokens + usage.completion_tokens <= decoder.config.max_position_embeddings
    assert finished.finish_reason in ("length", "stop")


def test_control_tokens_are_never_chosen_and_calls_only_with_tools(
    decoder: Decoder, chat: ChatFormat
) -> None:
    seen: set[int] = set()

    class Watching(SpelledFormat):
        def parser(self, tools: Sequence[ToolSpec] = (), prefix_tokens: Sequence[int] = ()) -> object:  # type: ignore[override]
            parser = super().parser(tools, prefix_tokens)
            feed = parser.feed

            def watched(token: int) -> object:
                seen.add(token)
                return feed(token)

            parser.feed = watched  # type: ignore[method-assign, assignment]
            return parser

    watching = Watching.__new__(Watching)
    watching.__dict__ |= chat.__dict__
    bench = Bench(decoder, watching, 8, 1 << 24, 0)
    for run in range(8):
        bench.submit(run, job(2 * run, temperature=2.0, max_tokens=40))
    while len(bench.finished) < 8:
        bench.step()
    never = {chat.pad_id, chat.bos_id, 2} | set(chat.controls.values()) - {
        chat.controls[symbol] for symbol in ("<|arg|>", "<|val|>", "<|item|>", "<|end|>")
    }
    assert len(seen) > 100
    assert not seen & never


def test_a_snapshot_is_used_up_even_where_there_is_no_room(decoder: Decoder, chat: ChatFormat) -> None:
    bench = Bench(decoder, chat, 1, 0, 1 << 24)
    bench.submit(1, job(1))
    while bench.slices.get(1, 0) < 2:
        bench.step()
    bench.take(bench.engine.obey(Preempt(1)))
    for run in (2, 3):
        bench.submit(run, job(run))
    bench.submit(4, job(1), bench.parked[1])
    assert bench.failed == {4: Overloaded.code}
    assert bench.engine.statistics().snapshots == 0


def test_a_second_model_is_refused(decoder: Decoder, chat: ChatFormat) -> None:
    (refused,) = Bench(decoder, chat, 1, 0, 0).engine.obey(Load("", "other", 1, 0, 0))
    assert isinstance(refused, Failed)
    assert (refused.run, refused.error.code) == (0, InvalidArgument.code)


def test_counting_a_prompt_runs_nothing(decoder: Decoder, chat: ChatFormat) -> None:
    engine = Bench(decoder, chat, 1, 0, 0).engine
    each = job(1)
    assert engine.obey(Count(5, each.messages, each.tools)) == [
        Counted(5, len(chat.encode(each.messages, each.tools)))
    ]
    assert not engine.is_busy


def test_yielding_before_the_first_token_waits_for_it(decoder: Decoder, chat: ChatFormat) -> None:
    bench = Bench(decoder, chat, 1, 0, 1 << 24)
    bench.submit(1, job(1))
    bench.take(bench.engine.obey(Preempt(1)))
    bench.engine.step()
    bench.take(bench.engine.obey(Preempt(1)))
    while 1 not in bench.parked and 1 not in bench.finished:
        bench.step()
    assert bench.parked[1].num_tokens >= 1
