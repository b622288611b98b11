"""Budgets: what tenants, programs and calls may spend of tokens, money, calls and time.

Accounts form a tree: what a call spends counts in its own account and in all above it, up to its tenant's.
Before a call runs, its prompt and a first slice of its answer are held in all of them or in none; while it
streams the hold grows by slices, smaller ones where little is left; at its end the true cost takes the hold's
place. Decides without awaiting, `now` is an argument; knows neither tasks nor cores nor the store.
"""

from collections.abc import Iterable

from aios.abi.errors import Internal, QuotaExceeded
from aios.abi.messages import Usage
from aios.abi.syscalls import Budget
from aios.kernel.accounts import BILLION, BOUNDLESS, MILLION, Account, Amount, Prices

SLICE = 256
"""Answer tokens held at a time."""
SpendingRow = tuple[str, int, int, int, float | None]
"""What is kept of an account: holder, spent tokens, money and calls, its first call since the epoch."""


class Hold:
    """What is held for one call, in its account and all above it."""

    __slots__ = ("account", "amount", "max_answer", "num_answer", "num_prompt", "prices", "refused")

    def __init__(self, account: Account, num_prompt: int, max_answer: int, prices: Prices) -> None:
        self.account = account
        self.num_prompt = num_prompt
        self.max_answer = max_answer
        self.prices = prices
        self.num_answer = 0
        """Answer tokens that are held."""
        self.amount = Amount()
        self.refused: QuotaExceeded | None = None
        """Why it could not grow."""


class Budgets:
    """The accounts of tenants, and all holds. `epoch` is the time since the epoch at the clock's zero.

    `tenants` are the budgets of those that have one.
    """

    def __init__(
        self, tenants: dict[str, Budget] | None = None, *, slice_tokens: int = SLICE, epoch: float = 0.0
    ) -> None:
        self._budgets = tenants or {}
        self._slice = slice_tokens
        self._epoch = epoch
        self._kept: dict[str, Account] = {}
        self._changed: dict[str, Account | None] = {}
        """Kept accounts whose rows are not written yet; None for those to be deleted."""
        self._holds: set[Hold] = set()

    # ---- accounts

    def tenant(self, name: str) -> Account:
        """The account of a tenant, which is there from its first use on."""
        return self._keep(f"tenant {name}", self._budgets.get(name, Budget()), None)

    def open(self, holder: str, budget: Budget | None, parent: Account, *, is_kept: bool = False) -> Account:
        """An account below `parent`; `parent` itself where the budget limits nothing.

        One that `is_kept` goes on from what it had spent before a restart, until it is closed.
        """
        if budget is None or budget == Budget():
            return parent
        return self._keep(holder, budget, parent) if is_kept else Account(holder, budget, parent)

    def close(self, account: Account) -> None:
        """Forget a kept account other than a tenant's: its holder is gone."""
        if account.parent is not None and self._kept.pop(account.holder, None) is not None:
            account.is_kept = False
            self._changed[account.holder] = None

    def begin(self, account: Account, now: float) -> float:
        """A call is made on this account: gives when its time runs out. `QuotaExceeded` when it has."""
        for one in account.chain():
            if one.began is None:
                one.began = now
                self._note(one)
        self.check_time(account, now)
        return min(one.ends for one in account.chain())

    def check_time(self, account: Account, now: float) -> None:
        """`QuotaExceeded`, naming the holder, where somebody's time is over."""
        for one in account.chain():
            if now >= one.ends:
                raise one.out_of_time()

    # ---- holds

    def reserve(self, account: Account, num_prompt: int, max_answer: int, prices: Prices) -> Hold | None:
        """Hold a call's prompt and the first slice of its answer, in all accounts above it or in none.

        `QuotaExceeded` where it cannot be paid; None where it could, were it not for what other calls hold:
        try again when one of them has ended.
        """
        hold = Hold(account, num_prompt, max_answer, prices)
        least = prices.cost(num_prompt, min(1, max_answer))
        _check_spent(account, least)
        if any(one.lacks(least) for one in account.chain()):
            return None
        self._holds.add(hold)
        self._resize(hold, least, least.tokens - num_prompt)
        self._extend(hold)
        return hold

    def grow(self, hold: Hold, num_answer: int) -> bool:
        """Whether a call may go on that has answered `num_answer` tokens; `hold.refused` says why not."""
        if num_answer + self._slice // 4 >= hold.num_answer:
            # A delta may hold many tokens, and only a part of what there is is held at a time.
            while self._extend(hold) and num_answer >= hold.num_answer:
                pass
        if num_answer < hold.num_answer or hold.num_answer >= hold.max_answer:
            return True
        self._refuse(hold)
        return False

    def read_more(self, hold: Hold, num_prompt: int) -> None:
        """The call reads so many tokens more than was thought. `QuotaExceeded` where it cannot be paid."""
        amount = hold.prices.cost(hold.num_prompt + num_prompt, hold.num_answer)
        more = Amount(amount.tokens - hold.amount.tokens, amount.money - hold.amount.money)
        for one in hold.account.chain():
            if name := one.lacks(more):
                raise one.refusal(name, more)
        hold.num_prompt += num_prompt
        self._resize(hold, amount, hold.num_answer)

    def shrink(self, hold: Hold, num_answer: int) -> None:
        """The call stands still after so many tokens of its answer: no more than those stay held."""
        if num_answer < hold.num_answer:
            self._resize(hold, hold.prices.cost(hold.num_prompt, num_answer), num_answer)

    def go_on(self, hold: Hold, num_answer: int) -> bool:
        """Whether a call that stood still can go on now; if not, try again when another has ended.

        `QuotaExceeded` where it cannot be paid, whatever others give back.
        """
        if self.grow(hold, num_answer):
            return True
        hold.refused = None
        _check_spent(hold.account, hold.prices.cost(hold.num_prompt, num_answer + 1))
        return False

    def place(self, hold: Hold, prices: Prices) -> None:
        """The call's core is chosen. `QuotaExceeded` where it is dearer than was held and cannot be paid."""
        amount = prices.cost(hold.num_prompt, hold.num_answer)
        more = Amount(0, amount.money - hold.amount.money)
        for one in hold.account.chain():
            if name := one.lacks(more):
                raise one.refusal(name, more)
        hold.prices = prices
        self._resize(hold, amount, hold.num_answer)

    def settle(self, hold: Hold, usage: Usage) -> None:
        """The call has ended: what it truly used is spent, what was held is free."""
        num_cached = min(usage.cached_tokens, usage.prompt_tokens)
        used = hold.prices.cost(usage.prompt_tokens, usage.completion_tokens, num_cached)
        self._close(hold)
        for one in hold.account.chain():
            one.spent.add(used)
            self._note(one)

    def refund(self, hold: Hold) -> None:
        """The call came to nothing: nothing is spent, not even a call."""
        self._close(hold)

    # ---- what is kept

    def load(self, rows: Iterable[SpendingRow]) -> None:
        """Take in what was kept; before anything else."""
        for holder, tokens, money, calls, began in rows:
            account = self._kept[holder] = Account(holder, Budget())
            account.is_kept = True
            account.spent = Amount(tokens, money, calls)
            account.began = None if began is None else began - self._epoch

    @property
    def has_changes(self) -> bool:
        return bool(self._changed)

    def take_changes(self) -> list[SpendingRow | str]:
        """The rows to write, and the holders whose row goes; they count as written from here on."""
        changed, self._changed = self._changed, {}
        return [holder if account is None else self._row(account) for holder, account in changed.items()]

    def put_back(self, changes: Iterable[SpendingRow | str]) -> None:
        """These could not be written: they are changes again."""
        for change in changes:
            holder = change if isinstance(change, str) else change[0]
            self._changed.setdefault(holder, self._kept.get(holder))

    # ---- looking

    def check(self) -> None:
        """Assert what must always hold."""
        held: dict[Account, Amount] = {account: Amount() for account in self._kept.values()}
        for hold in self._holds:
            assert hold.amount == hold.prices.cost(hold.num_prompt, hold.num_answer), hold
            assert hold.num_answer <= hold.max_answer
            for one in hold.account.chain():
                held.setdefault(one, Amount()).add(hold.amount)
        for account, amount in held.items():
            assert account.held == amount, account.holder

    def statistics(self) -> dict[str, dict[str, float]]:
        """What tenants and other kept holders have spent and hold."""
        return {
            holder: {
                "tokens": account.spent.tokens,
                "money": account.spent.money / BILLION,
                "calls": account.spent.calls,
                "held_tokens": account.held.tokens,
                "held_money": account.held.money / BILLION,
                "held_calls": account.held.calls,
            }
            for holder, account in self._kept.items()
        }

    # ---- inside

    def _keep(self, holder: str, budget: Budget, parent: Account | None) -> Account:
        account = self._kept.get(holder)
        if account is None:
            account = self._kept[holder] = Account(holder, budget)
            account.is_kept = True
        account.parent = parent
        account.set_limit(budget)
        return account

    def _extend(self, hold: Hold) -> bool:
        """Hold one more slice of the answer, or what there is of it; whether there was any."""
        more = min(self._slice, hold.max_answer - hold.num_answer)
        left = min(_answer_left(one, hold) for one in hold.account.chain()) if more > 0 else 0
        if left > 0:
            # Calls that run side by side leave each other something: no more than half of what there is.
            num_answer = hold.num_answer + min(more, (left + 1) // 2)
            self._resize(hold, hold.prices.cost(hold.num_prompt, num_answer), num_answer)
        return left > 0

    def _refuse(self, hold: Hold) -> None:
        amount = hold.prices.cost(hold.num_prompt, hold.num_answer + 1)
        amount.subtract(hold.amount)
        for one in hold.account.chain():
            if name := one.lacks(amount):
                hold.refused = one.refusal(name, amount)

    def _resize(self, hold: Hold, amount: Amount, num_answer: int) -> None:
        for one in hold.account.chain():
            one.held.subtract(hold.amount)
            one.held.add(amount)
        hold.amount, hold.num_answer = amount, num_answer

    def _close(self, hold: Hold) -> None:
        if hold not in self._holds:
            raise Internal("a hold was settled a second time")
        self._holds.remove(hold)
        for one in hold.account.chain():
            one.held.subtract(hold.amount)

    def _note(self, account: Account) -> None:
        if account.is_kept:
            self._changed[account.holder] = account

    def _row(self, account: Account) -> SpendingRow:
        spent = account.spent
        began = None if account.began is None else account.began + self._epoch
        return account.holder, spent.tokens, min(spent.money, BOUNDLESS), spent.calls, began


def _check_spent(account: Account, least: Amount) -> None:
    """`QuotaExceeded` where `least` cannot be paid even when nothing is held."""
    for one in account.chain():
        if name := one.lacks(least, counts_held=False):
            raise one.refusal(name, least)


def _answer_left(account: Account, hold: Hold) -> int:
    """The answer tokens that an account could still pay for a call, beyond those held."""
    limit, spent, held = account.limit, account.spent, account.held
    left = limit.tokens - spent.tokens - held.tokens
    if hold.prices.answer:
        money = limit.money - spent.money - held.money + hold.amount.money
        parts = money * MILLION - hold.num_prompt * hold.prices.prompt
        left = min(left, parts // hold.prices.answer - hold.num_answer)
    return left
