"""The programs that call, and what each of their calls asks of a core and is given: the books of scheduling.

Makes a call's `Demand` from what was said of it, charges service as it is given, and learns from what ended.
"""

from collections.abc import Mapping, Sequence

from aios.abi.messages import Message, ToolSpec, Usage
from aios.abi.syscalls import BANDS, Hints, LlmCall, LlmGenerate
from aios.kernel.process import Process
from aios.kernel.program import CHARGED_AT_ONCE, WEIGHT_IN, WEIGHT_OUT, Demand, Program
from aios.kernel.scheduling.answers import Answers, Lengths
from aios.kernel.scheduling.fairness import Fairness
from aios.kernel.scheduling.learning import Learning
from aios.kernel.scheduling.policies import VirtualTime, left_of
from aios.kernel.task import Task

CHARS_PER_TOKEN = 4.0
"""Of a prompt, until a model has counted some."""
OUT_TOKENS = 512.0
"""Of an answer without a limit, until there were some."""
MAX_STEPS = 10_000
"""Of one program, whose service is remembered one by one."""


class Programs:
    """`weights` are the tenants' that are not 1."""

    def __init__(self, weights: Mapping[str, float], learning: Learning) -> None:
        self.fairness = Fairness(weights)
        self.estimates = learning.estimates
        self._learning = learning
        self.answers = Answers()
        self.virtual_time = VirtualTime()
        self._programs: dict[int, Program] = {}
        self._num_ever = 0
        self._chars_per_token = CHARS_PER_TOKEN
        self._out_tokens = OUT_TOKENS
        self._s_per_token = 0.01

    # ---- what is asked

    def demand(self, process: Process, call: LlmCall, now: float) -> Demand:
        """What this call of `process` asks of a core."""
        program = self._program_of(process, now)
        said, given = call.hints, process.hints
        if isinstance(call, LlmGenerate):
            size = num_chars(call.messages, call.tools)
            limit, width = call.sampling.max_tokens, call.sampling.width
            max_out = (limit or round(2 * self._out_tokens)) * width
            lengths = self.answers.lengths(program.agent, call.model, limit)
            limit = limit and limit * width
        else:
            size = sum(map(len, call.texts))
            limit = max_out = 0
            lengths = Lengths()
        num_in = round(size / self._chars_per_token) + 1
        demand = Demand(program, size, num_in, max_out, limit, lengths)
        # The operator may have all, and has what everybody has unless it says so.
        demand.band = _band(said if process.is_operator and said.band else given)
        demand.band = max(demand.band, _band(said))
        most = 100 if process.is_operator and said.priority is not None else given.priority or 0
        demand.priority = most if said.priority is None else min(said.priority, most)
        demand.due = min(program.due, now + said.deadline_s if said.deadline_s is not None else program.due)
        demand.steps_left = said.steps_left
        demand.work_left = said.work_left
        if said.work_left is not None:
            program.work = program.service + said.work_left
            program.line_up()
        return demand

    def find(self, id: int) -> Program | None:
        """The program of this id, if it has called a core."""
        return self._programs.get(id)

    def seconds_of(self, task: Task) -> float:
        """What is left of a call, or of its program where the deadline is the program's, in seconds."""
        demand = task.demand
        assert demand is not None
        program = demand.program
        left = WEIGHT_IN * demand.num_in + WEIGHT_OUT * demand.max_out - demand.service
        if demand.due == program.due:
            declared = left_of(program)
            if declared is None:
                known = self.estimates.remaining(program.agent, len(program.steps), program.service)
                declared = None if known is None else known[0]
            left = max(left, declared or 0.0)
        return max(0.0, left) * self._s_per_token

    # ---- what is given

    def began(self, demand: Demand) -> None:
        """A call runs for the first time: its prompt is worked on now."""
        self._charge(demand, WEIGHT_IN * demand.num_in)

    def charge(self, demand: Demand) -> None:
        """Charge the tokens of its answer that have come."""
        demand.charge_at = demand.num_out + CHARGED_AT_ONCE
        given = WEIGHT_IN * demand.num_in + WEIGHT_OUT * demand.num_out
        self._charge(demand, given - demand.service)

    def finished(self, task: Task, usage: Usage) -> None:
        """A call ended well: what it took is known now."""
        demand = task.demand
        assert demand is not None
        program = demand.program
        true = WEIGHT_IN * (usage.prompt_tokens - usage.cached_tokens) + WEIGHT_OUT * usage.completion_tokens
        if usage.prompt_tokens:
            self._charge(demand, true - demand.service)
            if isinstance(task.call, LlmGenerate):
                self._learn(task, usage)
        program.path = max(program.path, demand.path + demand.service)
        if len(program.steps) < MAX_STEPS:
            program.steps.append(demand.service)

    def ended(self, process: Process) -> None:
        """A process ended; with the first of a program, the program."""
        program = self._programs.pop(process.pid, None)
        if program is None:
            return
        self.virtual_time.num_sharing -= 1
        if process.state == "exited" and program.steps:
            self._learning.finished(program.agent, program.steps)

    # ---- inside

    def _program_of(self, process: Process, now: float) -> Program:
        program = self._programs.get(process.program)
        if program is None:
            self._num_ever += 1
            tenant = self.fairness.tenant(process.tenant)
            program = Program(process.program, process.agent, tenant, self._num_ever, now)
            hints = process.hints
            if hints.deadline_s is not None:
                program.due = now + hints.deadline_s
            program.work = hints.work_left
            self._programs[process.program] = program
            self.virtual_time.num_sharing += 1
        return program

    def _charge(self, demand: Demand, service: float) -> None:
        demand.service += service
        program = demand.program
        program.service += service
        if program.lines:
            program.line_up()
        self.fairness.charge(program.tenant, service)
        self.virtual_time.given(service)

    def _learn(self, task: Task, usage: Usage) -> None:
        demand = task.demand
        assert demand is not None
        if task.num_prompts == 1 and task.fitted is None:
            seen = demand.num_chars / usage.prompt_tokens
            self._chars_per_token += 0.05 * (min(max(seen, 0.5), 20.0) - self._chars_per_token)
        self._out_tokens += 0.05 * (usage.completion_tokens - self._out_tokens)
        demand.lengths.add(usage.completion_tokens)
        if demand.service > 0:
            self._s_per_token += 0.05 * (task.running_s / demand.service - self._s_per_token)


def _band(hints: Hints) -> int:
    """The number of the band asked for: the first, where none is."""
    return 0 if hints.band is None else BANDS.index(hints.band)


_PROPERTY_CHARS = 60
"""What a parameter of a tool takes in a prompt, about: looking at each would cost more than it tells."""


def num_chars(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
    """Characters of a prompt."""
    found = 0
    for message in messages:
        content = message.content
        found += len(content) if isinstance(content, str) else sum(len(str(part)) for part in content)
        for call in message.tool_calls:
            values = call.arguments.values()
            found += len(call.name) + sum(len(value) if isinstance(value, str) else 8 for value in values)
    for tool in tools:
        found += len(tool.name) + len(tool.description)
        found += _PROPERTY_CHARS * len(tool.parameters.get("properties", ()))
    return found
