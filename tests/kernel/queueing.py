"""A scheduler by itself with one core, and generations for it, by a clock that a test moves."""

from collections.abc import Sequence
from typing import Any, cast

from aios.abi import syscalls as sc
from aios.abi.messages import Message, Sampling, Usage
from aios.drivers.store import Store
from aios.kernel.config import SchedulerConfig
from aios.kernel.cores.gate import DONE, Gate
from aios.kernel.process import Process
from aios.kernel.scheduling.choosing import policy_of, shares
from aios.kernel.scheduling.estimates import Estimates
from aios.kernel.scheduling.learning import Learning
from aios.kernel.scheduling.programs import Programs
from aios.kernel.scheduling.scheduler import Scheduler
from aios.kernel.task import Task

ROW = sc.TABLE["llm.generate"]


class Bench:
    """`core` has `slots` and draws from the queue `q`. What config says of scheduling may be given."""

    def __init__(self, policy: str = "fifo", slots: int = 1, weights: Any = None, **options: Any) -> None:
        config = SchedulerConfig(policy=policy, **options)  # type: ignore[arg-type]
        self.estimates = Estimates()
        self.programs = Programs(weights or {}, Learning(self.estimates, cast(Store, None)))
        self.policy = policy_of(config, self.programs)
        self.scheduler = Scheduler(self.policy, self.programs, config.max_waiting, is_shared=shares(config))
        self.scheduler.add_resource("core", slots, gate=Gate(slots))
        self.scheduler.add_queue("q", ["core"])
        self.core = self.scheduler.resources["core"]
        self.now = 0.0
        self.processes: dict[int, Process] = {}
        self.num_tasks = 0
        self.evicted: list[Task] = []

    def process(self, pid: int, **fields: Any) -> Process:
        process = self.processes.get(pid)
        if process is None:
            process = Process(pid, fields.pop("agent", "agent"), f"agent.{pid}", b"")
            for name, value in fields.items():
                setattr(process, name, value)
            self.processes[pid] = process
        return process

    def submit(
        self,
        pid: int,
        *,
        text: str = "hello",
        said: Sequence[Message] = (),
        max_tokens: int = 10,
        hints: sc.Hints = sc.NO_HINTS,
        is_nested: bool = False,
        queue: str = "q",
        **fields: Any,
    ) -> Task:
        """A call of a process after what was `said`; `fields` are those of the process, where it is new."""
        process = self.process(pid, **fields)
        self.num_tasks += 1
        call = sc.LlmGenerate(
            messages=(*said, Message("user", text)), sampling=Sampling(max_tokens=max_tokens), hints=hints
        )
        task = Task(self.num_tasks, pid, process.program, 1, ROW, call, self.now)
        task.is_nested = is_nested
        task.demand = self.programs.demand(process, call, self.now)
        evicted = self.scheduler.submit(task, queue, self.now)
        if evicted is not None:
            self.evicted.append(evicted)
        return task

    def next(self) -> Task | None:
        return self.scheduler.next(self.core, self.now)

    def release(self, task: Task, held_s: float = 0.0, num_out: int | None = None) -> None:
        """It gives up its slot; done, where it says how long its answer is."""
        usage = None
        if num_out is not None:
            assert task.demand is not None
            usage = Usage(task.demand.num_in, num_out)
        self.now += held_s
        task.running_s += held_s
        self.scheduler.release(task, held_s, self.now, DONE, usage)

    def put_back(self, task: Task, *, first: bool = False) -> None:
        self.scheduler.put_back(task, "q", self.now, first=first)

    def serve(self, num_out: int = 10, held_s: float = 0.0) -> int:
        """Run the next call to its end. Gives its process."""
        task = self.next()
        assert task is not None
        self.release(task, held_s, num_out)
        return task.pid

    def drain(self) -> list[tuple[int, int]]:
        """(pid, task) in the order they get the slot."""
        order = []
        while (task := self.next()) is not None:
            order.append((task.pid, task.id))
            self.release(task)
        return order
