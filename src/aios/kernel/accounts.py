"""One holder's account: its limits, what is spent and what is held, and why more would be too much.

All amounts are whole numbers, money in billionths: sums are exact, and what is held comes back to nothing.
"""

import math
from collections.abc import Iterable, Iterator

from msgspec import Struct

from aios.abi.errors import QuotaExceeded
from aios.abi.syscalls import Budget

BILLION = 10**9
MILLION = 10**6
BOUNDLESS = 1 << 62
"""A limit that nothing reaches."""


class Amount(Struct):
    """Tokens of prompts and answers, billionths of money, calls."""

    tokens: int = 0
    money: int = 0
    calls: int = 0

    def add(self, other: "Amount") -> None:
        self.tokens += other.tokens
        self.money += other.money
        self.calls += other.calls

    def subtract(self, other: "Amount") -> None:
        self.tokens -= other.tokens
        self.money -= other.money
        self.calls -= other.calls


_NOTHING = Amount()


class Prices(Struct, frozen=True):
    """Billionths of money for a million tokens."""

    prompt: int = 0
    cached: int = 0
    answer: int = 0

    def cost(self, num_prompt: int, num_answer: int, num_cached: int = 0) -> Amount:
        """Of one call, rounded up."""
        parts = (num_prompt - num_cached) * self.prompt + num_cached * self.cached + num_answer * self.answer
        return Amount(num_prompt + num_answer, -(-parts // MILLION), 1)


FREE = Prices()


def prices_of(price_in: float, price_cached: float | None, price_out: float) -> Prices:
    """From money for a million tokens; `price_cached` None for the same as `price_in`."""
    cached = price_in if price_cached is None else price_cached
    return Prices(_billionths(price_in), _billionths(cached), _billionths(price_out))


def dearest(prices: Iterable[Prices]) -> Prices:
    """No less than any of these: for a call whose core is not chosen. Nothing counts as cached."""
    found = list(prices)
    prompt = max((max(one.prompt, one.cached) for one in found), default=0)
    return Prices(prompt, prompt, max((one.answer for one in found), default=0))


class Account:
    """What a holder may spend, has spent, and holds for running calls. Times are by the kernel's clock."""

    __slots__ = ("began", "held", "holder", "is_kept", "limit", "parent", "spent", "wall_s")

    def __init__(self, holder: str, budget: Budget, parent: "Account | None" = None) -> None:
        self.holder = holder
        """As errors name it: `tenant acme`, `process 12`."""
        self.parent = parent
        self.spent = Amount()
        self.held = Amount()
        self.began: float | None = None
        """When its first call was made."""
        self.is_kept = False
        """What it has spent outlives a restart."""
        self.set_limit(budget)

    def set_limit(self, budget: Budget) -> None:
        money = BOUNDLESS if budget.money is None else _billionths(budget.money)
        tokens = BOUNDLESS if budget.tokens is None else budget.tokens
        calls = BOUNDLESS if budget.calls is None else budget.calls
        self.limit = Amount(tokens, money, calls)
        self.wall_s = math.inf if budget.wall_s is None else budget.wall_s

    @property
    def ends(self) -> float:
        """When its time runs out."""
        return math.inf if self.began is None else self.began + self.wall_s

    def chain(self) -> "Iterator[Account]":
        """It and those above it."""
        account: Account | None = self
        while account is not None:
            yield account
            account = account.parent

    def lacks(self, more: Amount, *, counts_held: bool = True) -> str:
        """What is not there for `more`: the name of the first such amount, or nothing."""
        limit, spent, held = self.limit, self.spent, self.held if counts_held else _NOTHING
        if 0 < more.tokens > limit.tokens - spent.tokens - held.tokens:
            return "tokens"
        if 0 < more.money > limit.money - spent.money - held.money:
            return "money"
        if 0 < more.calls > limit.calls - spent.calls - held.calls:
            return "calls"
        return ""

    def refusal(self, name: str, more: Amount) -> QuotaExceeded:
        """Why `more` is refused: who has used up what, and how much that was."""
        limit, spent, held, need = (
            _text(name, getattr(amount, name)) for amount in (self.limit, self.spent, self.held, more)
        )
        return QuotaExceeded(
            f"the budget of {self.holder} is used up: of {limit} {name}, {spent} are spent and {held} are "
            f"held for running calls; {need} more were needed"
        )

    def out_of_time(self) -> QuotaExceeded:
        return QuotaExceeded(
            f"the budget of {self.holder} is used up: its {self.wall_s:g} s since the first call are over"
        )


def _billionths(money: float) -> int:
    return round(min(money * BILLION, BOUNDLESS))


def _text(name: str, amount: int) -> str:
    return f"{amount / BILLION:g}" if name == "money" else str(amount)
