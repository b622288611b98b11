"""Who pays for a call: the accounts of processes, holds from a call's creation to its end, what is kept.

Owns the join of the process tree and the account tree, and the calls that wait for others' holds to be freed.
What was spent on kept accounts is written as it changes; a crash loses what the last moments spent.
"""

from collections.abc import Callable, Mapping
from typing import cast

import apsw

from aios.abi.errors import AiosError
from aios.abi.messages import Usage
from aios.abi.syscalls import NO_BUDGET, Budget, LlmCall, LlmGenerate
from aios.drivers.clock import Clock
from aios.drivers.sealing import Sealed
from aios.drivers.store import Store
from aios.kernel.accounts import Account, Prices, dearest, prices_of
from aios.kernel.budget import Budgets, SpendingRow
from aios.kernel.config import CoreConfig
from aios.kernel.keeping import Keeper
from aios.kernel.process import Process, ProcessTable
from aios.kernel.task import Task

MAX_ANSWER = 1_000_000
"""Tokens of an answer without a limit: the most that a call may ask for."""

_TABLES = """
CREATE TABLE spending (
    holder TEXT PRIMARY KEY,
    tokens INTEGER NOT NULL,
    money INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    began REAL
) WITHOUT ROWID;
"""


ROWS = Sealed("spending", "holder tokens money calls began")


class Payers:
    """`on_ready` is told of a call that can be paid for now, `on_failed` of one that no longer can."""

    def __init__(
        self,
        tenants: Mapping[str, Budget],
        cores: Mapping[str, CoreConfig],
        processes: ProcessTable,
        store: Store,
        clock: Clock,
    ) -> None:
        self._budgets = Budgets(dict(tenants), epoch=clock.time() - clock.now())
        self._limited = {name for name, budget in tenants.items() if budget != NO_BUDGET}
        self._prices = {
            name: prices_of(core.price_in, core.price_cached, core.price_out) for name, core in cores.items()
        }
        self._dearest = dearest(self._prices.values())
        self._processes = processes
        self._store = store
        self._clock = clock
        self._accounts: dict[int, Account | None] = {}
        """Who pays, by process; None where nobody above it has a limit."""
        self._waiting: dict[Task, Account] = {}
        """For others to give back what they hold; the oldest first."""
        self._aside: dict[Task, Account] = {}
        """Those of suspended processes that have not run: nothing is held for them."""
        self._is_retrying = self._must_retry = False
        self._keeper = Keeper(store, self._budgets.take_changes, _write, self._budgets.put_back)
        self.on_ready: Callable[[Task], None] = lambda task: None
        self.on_failed: Callable[[Task, AiosError], None] = lambda task, error: None

    async def start(self) -> None:
        """Read what was spent before."""
        await self._store.migrate("spending", [_TABLES, *ROWS.steps])
        self._budgets.load(await self._store.read(_read))

    async def close(self) -> None:
        """Write what is not written yet."""
        await self._keeper.close()

    # ---- a call's life

    def account_of(self, process: Process, call: LlmCall, task_id: int) -> Account | None:
        """Who pays for a call; None where neither it nor anybody above it has a limit."""
        account = self._account_of(process)
        if call.budget is not NO_BUDGET and call.budget != NO_BUDGET:
            root = account or self._budgets.tenant(process.tenant)
            account = self._budgets.open(f"call {task_id}", call.budget, root)
        return account

    def ends(self, account: Account, now: float) -> float:
        """When the time of those who pay runs out. `QuotaExceeded` when it has."""
        return self._budgets.begin(account, now)

    def reserve(self, task: Task, account: Account) -> bool:
        """Hold what a new call may take; whether that could be done now. If not, it waits here.

        `QuotaExceeded` when its payers have not enough, whatever others give back.
        """
        is_paid = self._hold(task, account)
        if not is_paid:
            self._waiting[task] = account
        return is_paid

    def set_aside(self, task: Task) -> None:
        """A call that waits will not run for now: hold no more than what it was given, nothing if nothing."""
        hold = task.hold
        if hold is None:
            return
        if task.first_run is None:
            self._aside[task] = hold.account
            self._budgets.refund(hold)
            task.hold = None
        else:
            assert task.demand is not None
            self._budgets.shrink(hold, task.demand.num_out)
        self._retry()

    def take_up(self, task: Task) -> bool:
        """It may run again: whether what it needs could be held now. If not, it waits here.

        `QuotaExceeded` when its payers have not enough, whatever others give back.
        """
        account = self._aside.pop(task, None)
        if account is None and task.hold is not None:
            account = task.hold.account
        return account is None or self.reserve(task, account)

    def place(self, task: Task) -> None:
        """The call has a core. `QuotaExceeded` where that one is too dear."""
        if task.hold is not None and task.resource is not None:
            self._budgets.place(task.hold, self._price_of(task.resource))
            if self._waiting:
                self._retry()  # A cheaper core than was feared leaves something over.

    def may_go_on(self, task: Task, num_answer: int) -> bool:
        """Whether a call that has answered so many tokens may go on; `task.hold.refused` says why not."""
        return task.hold is None or self._budgets.grow(task.hold, num_answer)

    def read_more(self, task: Task, num_tokens: int) -> None:
        """A call reads so many tokens more than its prompt. `QuotaExceeded` where nobody can pay them."""
        if task.hold is not None:
            self._budgets.read_more(task.hold, num_tokens)

    def settle(self, task: Task, usage: Usage | None) -> None:
        """A call has ended, with what it used; None where it came to nothing."""
        hold, task.hold = task.hold, None
        self._aside.pop(task, None)
        has_waited = self._waiting.pop(task, None) is not None
        if hold is not None and usage is None:
            self._budgets.refund(hold)
        elif hold is not None and usage is not None:
            self._budgets.settle(hold, usage)
            self._keep()
        if hold is not None or has_waited:
            self._retry()  # What it held is free, or it may have kept others from being paid for.

    def ended(self, process: Process) -> None:
        """A process has ended: its account is no longer needed."""
        account = self._accounts.pop(process.pid, None)
        if account is not None and account.holder == _holder(process):
            self._budgets.close(account)
            self._keep()

    # ---- looking

    def is_counted(self, task: Task) -> bool:
        """Whether it has to be settled."""
        return task.hold is not None or task in self._waiting or task in self._aside

    def statistics(self) -> dict[str, dict[str, float]]:
        return self._budgets.statistics()

    def check(self) -> None:
        """Assert what must always hold."""
        self._budgets.check()
        assert not any(task.is_settled for task in (*self._waiting, *self._aside))
        assert all(task.hold is None and task.is_held for task in self._aside)

    # ---- inside

    def _account_of(self, process: Process) -> Account | None:
        """Who pays for a process; None where nobody above it has a limit."""
        if process.pid in self._accounts:
            return self._accounts[process.pid]
        above: Account | None = None
        parent = self._processes.find(process.parent)
        if parent is not None and parent.tenant == process.tenant:
            above = self._account_of(parent)
        if above is None and process.tenant in self._limited:
            above = self._budgets.tenant(process.tenant)
        if process.budget is not None and process.budget != NO_BUDGET:
            root = above or self._budgets.tenant(process.tenant)
            above = self._budgets.open(_holder(process), process.budget, root, is_kept=process.durable)
        if not process.has_ended:
            self._accounts[process.pid] = above
        return above

    def _price_of(self, core: str) -> Prices:
        return self._prices.get(core, self._dearest)

    def _hold(self, task: Task, account: Account) -> bool:
        """Hold what a call needs to begin, or to go on."""
        call, demand = task.call, task.demand
        assert isinstance(call, LlmCall)
        assert demand is not None
        if task.hold is not None:
            return self._budgets.go_on(task.hold, demand.num_out)
        max_answer = 0
        if isinstance(call, LlmGenerate):
            max_answer = (call.sampling.max_tokens or MAX_ANSWER) * call.sampling.width
        task.hold = self._budgets.reserve(account, demand.num_in, max_answer, self._dearest)
        return task.hold is not None

    def _retry(self) -> None:
        """What was freed may pay for calls that wait. Who is told of that may free more."""
        self._must_retry = True
        if self._is_retrying:
            return
        self._is_retrying = True
        try:
            while self._must_retry:
                self._must_retry = False
                self._pay_waiting()
        finally:
            self._is_retrying = False

    def _pay_waiting(self) -> None:
        """The oldest of each tenant first."""
        stuck: set[str] = set()
        for task, account in list(self._waiting.items()):
            assert task.demand is not None
            tenant = task.demand.program.tenant.name
            if tenant in stuck or task not in self._waiting:
                continue
            try:
                is_paid = self._hold(task, account)
            except AiosError as error:
                del self._waiting[task]
                self.on_failed(task, error)
                continue
            if is_paid:
                del self._waiting[task]
                self.on_ready(task)
            else:
                stuck.add(tenant)

    def _keep(self) -> None:
        if self._budgets.has_changes:
            self._keeper.wake()


def _holder(process: Process) -> str:
    return f"process {process.pid}"


def _read(connection: apsw.Connection) -> list[SpendingRow]:
    return cast(list[SpendingRow], ROWS.rows(connection))


def _write(connection: apsw.Connection, changes: list[SpendingRow | str]) -> None:
    for change in changes:
        if isinstance(change, str):
            connection.execute("DELETE FROM spending WHERE holder = ?", (change,))
        else:
            ROWS.put(connection, *change)
