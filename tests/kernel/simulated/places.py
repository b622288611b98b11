"""That each call is in just one place, that what is over leaves nothing behind, and that no slot idles."""

from collections.abc import Callable

from aios.drivers.llm import Snapshot
from aios.kernel.task import Task
from simulated.endpoint import Call, Endpoint
from simulated.facts import Facts

QUEUED = ("llm", "memory", "storage", "tool")
"""Groups whose calls wait for slots."""


class Places:
    """Where tasks, timers, snapshots and processes are. `num_timers` of the kernel wait."""

    def __init__(self, facts: Facts, num_timers: Callable[[], int]) -> None:
        self._facts = facts
        self._kernel = facts.kernel
        self._num_timers = num_timers
        for endpoint in facts.endpoints.values():
            endpoint.on_arrival = self._arrived

    def _arrived(self, endpoint: Endpoint, call: Call, resume: Snapshot | None) -> None:
        """A run begins at an endpoint."""
        if call.delivered and resume is None:
            self._facts.fail(f"call {call.id} is tried again after a part of its answer was delivered")
        self._facts.counts["resumed"] += resume is not None

    def check(self) -> None:
        for task in self._kernel._flight.tasks():
            if task.row.group in QUEUED:
                self._check_task(task)
        self._no_orphans()
        self._no_tool_idles()
        self._nothing_is_kept()

    def at_rest(self) -> None:
        """All has ended, and nothing is left of it."""
        if self._num_timers():
            self._facts.fail(f"{self._num_timers()} timers are left")
        for name, resource in self._facts.scheduler.resources.items():
            if resource.running or resource.num_waiting:
                self._facts.fail(f"{name} is not empty")
            if abs(resource.load) > 1e-6:
                self._facts.fail(f"{name} has a load of {resource.load}")
        left = [name for name in self._facts.scheduler._queues if name.startswith("tool:")]
        if left or any(self._facts.scheduler._held.values()):
            self._facts.fail(f"the scheduler keeps {left}, {self._facts.scheduler._held}")
        if self._kernel._is_running and (programs := self._kernel._programs._programs):
            self._facts.fail(f"programs that have ended are kept: {sorted(programs)}")

    def _check_task(self, task: Task) -> None:
        waits_for_payers = task in self._kernel._payers._waiting
        places = [task.run is not None, task.queue is not None, task.is_held, waits_for_payers]
        if sum(places) != 1:
            self._facts.fail(f"{task} is in {sum(places)} places: runs, queue, held, payers: {places}")
        if task.is_held:
            process = self._kernel._flight.process_of(task)
            if process.state != "suspended" or task.is_nested:
                self._facts.fail(f"{task} is held, and its process is {process.state}")
            self._facts.counts["held with a snapshot"] += self._kernel._context.kept(task.id) is not None
        if task.is_nested:
            self._facts.counts[f"nested {task.row.group}"] += 1
        if task.id in self._facts.generations and task.demand is not None:
            call, demand = self._facts.generations[task.id].call, task.demand
            if (demand.band, demand.priority) != (call.band, call.priority):
                self._facts.fail(f"{task} has band {demand.band}, priority {demand.priority}")

    def _no_orphans(self) -> None:
        for process in self._kernel._processes:
            parent = self._kernel._processes.find(process.parent)
            if parent is not None and parent.has_ended and not process.has_ended:
                self._facts.fail(f"process {process.pid} lives on without process {parent.pid}")

    def _no_tool_idles(self) -> None:
        resource = self._facts.scheduler.resources["tool"]
        if not resource.has_room:
            return
        for queue in resource.draws.values():
            for task in queue.tasks():
                if self._kernel._dispatcher._can_start(task):
                    self._facts.fail(f"{task} waits, and its tool is free")

    def _nothing_is_kept(self) -> None:
        tasks = self._kernel._flight.tasks()
        most = sum(task.due is not None for task in tasks) + len(self._facts.endpoints) + 1
        if self._num_timers() > most:
            self._facts.fail(f"{self._num_timers()} timers wait, where {most} have a reason to")
        kept = {one.snapshot.handle for one in self._kernel._context._kept.values()}
        for endpoint in self._facts.endpoints.values():
            if left := endpoint.snapshots.keys() - kept:
                self._facts.fail(f"snapshots that nobody knows: {sorted(left)}")
