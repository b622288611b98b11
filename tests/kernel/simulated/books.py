"""The kernel's books beside our own: who waits and runs, how cores are, what was spent and what may be."""

import math
from collections import Counter, defaultdict
from typing import Any

from aios.abi.syscalls import Budget, LlmGenerate
from aios.kernel.cores.gate import Outcome
from aios.kernel.process import Process
from simulated.facts import Facts, Generation

LIMITLESS = 1 << 61
"""Tokens, of an account that pays only for those who have a limit themselves."""


class Spent:
    """What a holder of a budget has spent."""

    def __init__(self) -> None:
        self.tokens = self.calls = 0


class Books:
    """Counts anew what the kernel counts."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._kernel = facts.kernel
        self._scheduler = facts.scheduler
        self._overrun = sum((one.plan.piece - 1) * one.plan.most_at_once for one in facts.endpoints.values())
        """Tokens that come with the ones which are too many: what a budget may be overrun by."""
        self._spent: defaultdict[str, Spent] = defaultdict(Spent)

    def left(self, name: str, outcome: Outcome) -> None:
        """A slice at a core is over."""
        self._facts.health[name].learn(outcome)
        self._facts.counts[f"gate {outcome.kind}"] += 1
        told = self._kernel._cores[name].config.requests_per_minute
        if told and outcome.kind == "rate_limited" and not self._facts.endpoints[name].plan.moves:
            self._facts.fail(f"{name} was asked more than {told} times a minute")

    # ---- spending

    def ended(self, generation: Generation, *, is_done: bool) -> None:
        """A call has ended: what its payers must have spent on it."""
        task, process, call = generation
        if is_done and call.usage is not None:
            tokens = call.usage.prompt_tokens + call.usage.completion_tokens
        elif not is_done and call.num_generated:
            tokens = call.num_in + 1 + call.num_generated
        else:
            return
        assert isinstance(task.call, LlmGenerate)
        most = task.call.budget.tokens
        if most is not None and tokens > most + self._overrun:
            self._facts.fail(f"{task} spent {tokens} of its {most} tokens")
        for holder in self._payers_of(process):
            self._spent[holder].tokens += tokens
            self._spent[holder].calls += 1

    def _payers_of(self, process: Process) -> list[str]:
        tenant = process.tenant
        found = [f"tenant {tenant}"]
        one: Process | None = process
        while one is not None and one.tenant == tenant:
            if one.budget not in (None, Budget()):
                found.append(f"process {one.pid}")
            one = self._kernel._processes.find(one.parent)
        return found

    # ---- whenever a moment is over

    def check(self) -> None:
        self._check_counts()
        self._check_spending()
        self._check_times()
        self._check_waiting()

    def _check_counts(self) -> None:
        waiting, running = Counter[Any](), Counter[Any]()
        for task in self._facts.waiting():
            assert task.demand is not None
            waiting[task.demand.program] += 1
            waiting[task.demand.program.tenant] += 1
        for name, endpoint in self._facts.endpoints.items():
            resource = self._scheduler.resources[name]
            if resource.is_sound != self._facts.health[name].is_sound:
                self._facts.fail(f"{name} is {resource.gate and resource.gate.health}")
            if len(endpoint.running) != len(resource.running):
                self._facts.fail(
                    f"{len(endpoint.running)} runs at {name}, {len(resource.running)} slots taken"
                )
            running.update(task.demand.program for task in resource.running if task.demand is not None)
        for program in self._kernel._programs._programs.values():
            counted, true = (program.num_waiting, program.num_running), (waiting[program], running[program])
            if counted != true:
                self._facts.fail(f"program {program.id} counts {counted} calls, not {true}")
        for tenant in self._kernel._programs.fairness.tenants():
            if self._scheduler._is_shared and tenant.num_waiting != waiting[tenant]:
                self._facts.fail(f"tenant {tenant.name} counts {tenant.num_waiting}, not {waiting[tenant]}")

    def _check_spending(self) -> None:
        budgets = self._kernel._payers._budgets
        held = sum(task.hold is not None for task in self._kernel._flight.tasks())
        if len(budgets._holds) != held:
            self._facts.fail(f"{len(budgets._holds)} holds for {held} calls")
        accounts = {*budgets._kept.values(), *self._kernel._payers._accounts.values()} - {None}
        for account in sorted(accounts, key=lambda one: one.holder):
            spent, booked, limit = self._spent[account.holder], account.spent, account.limit
            if account.holder.startswith("tenant") and limit.tokens >= LIMITLESS:
                continue
            if (spent.tokens, spent.calls) != (booked.tokens, booked.calls):
                self._facts.fail(f"{account.holder} spent {spent.tokens}, not {booked.tokens} tokens")
            if booked.tokens > limit.tokens + self._overrun or booked.calls > limit.calls:
                self._facts.fail(f"{account.holder} spent {booked} of {limit}")

    def _check_times(self) -> None:
        """No call goes on once the time of one of its payers is over."""
        for task in self._kernel._flight.tasks():
            if task.hold is not None:
                ends = min((one.ends for one in task.hold.account.chain()), default=math.inf)
                if self._facts.now > ends + 1e-6:
                    self._facts.fail(f"{task} goes on, and its payers' time was over at {ends:.6f}")

    def _check_waiting(self) -> None:
        """Of each tenant's calls that wait for a budget, the oldest could not be paid for now."""
        payers = self._kernel._payers
        seen: set[str] = set()
        for task, account in payers._waiting.items():
            assert task.demand is not None
            tenant = task.demand.program.tenant.name
            least = payers._dearest.cost(task.demand.num_in, 1)
            if tenant not in seen and not any(one.lacks(least) for one in account.chain()):
                self._facts.fail(f"{task} waits for a budget that could pay for it")
            seen.add(tenant)
