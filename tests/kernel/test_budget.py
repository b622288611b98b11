"""Budgets: all holders or none, slices, refunds, time, what is kept, and that nobody ever overspends.

`AIOS_OPERATIONS=1000000` makes the long test as long as that.
"""

import os
import random
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.abi.errors import Internal, QuotaExceeded
from aios.abi.messages import Usage
from aios.abi.syscalls import Budget
from aios.kernel.accounts import BILLION, FREE, Account, Amount, Prices, dearest, prices_of
from aios.kernel.budget import Budgets, Hold

NUM_OPERATIONS = int(os.environ.get("AIOS_OPERATIONS", "20000"))
PRICES = prices_of(3.0, 0.3, 15.0)
ENOUGH = Budget(tokens=10**9)


def tree(tenant: Budget, program: Budget, call: Budget = ENOUGH) -> tuple[Budgets, Account, Account, Account]:
    budgets = Budgets({"acme": tenant})
    top = budgets.tenant("acme")
    middle = budgets.open("process 12", program, top)
    return budgets, top, middle, budgets.open("call 7", call, middle)


def held(*accounts: Account) -> list[int]:
    return [account.held.tokens for account in accounts]


def spent(*accounts: Account) -> list[int]:
    return [account.spent.tokens for account in accounts]


def reserved(budgets: Budgets, account: Account, *ask: int, prices: Prices = FREE) -> Hold:
    hold = budgets.reserve(account, *ask, prices)
    assert hold is not None
    return hold


# ---- reserving and settling


def test_a_call_is_held_and_then_spent_in_all_accounts_above_it():
    budgets, *accounts = tree(ENOUGH, ENOUGH)
    hold = reserved(budgets, accounts[2], 100, 1000)
    assert held(*accounts) == [357, 357, 357]
    budgets.settle(hold, Usage(90, 40))
    assert held(*accounts) == [0, 0, 0]
    assert spent(*accounts) == [130, 130, 130]
    budgets.check()


@pytest.mark.parametrize("poor", [0, 1, 2])
def test_all_accounts_or_none(poor):
    limits = [ENOUGH, ENOUGH, ENOUGH]
    limits[poor] = Budget(tokens=100)
    budgets, *accounts = tree(*limits)
    with pytest.raises(QuotaExceeded):
        budgets.reserve(accounts[2], 100, 10, FREE)
    assert held(*accounts) == [0, 0, 0]
    budgets.check()


def test_the_error_names_the_holder_what_is_used_up_and_the_limit():
    budgets, _, program, call = tree(ENOUGH, Budget(tokens=500))
    budgets.settle(reserved(budgets, program, 300, 100), Usage(300, 100))
    with pytest.raises(QuotaExceeded) as refusal:
        budgets.reserve(call, 150, 100, FREE)
    assert str(refusal.value) == (
        "the budget of process 12 is used up: of 500 tokens, 400 are spent and 0 are held for running calls; "
        "151 more were needed"
    )


def test_money_is_written_in_its_own_unit():
    budgets, _, _, call = tree(Budget(money=0.5), ENOUGH)
    with pytest.raises(QuotaExceeded, match=r"tenant acme .* of 0\.5 money, 0 are spent .* 3\.00001 more"):
        budgets.reserve(call, 1_000_000, 100, PRICES)


@pytest.mark.parametrize("limit", [Budget(tokens=300), Budget(money=300e-6), Budget(calls=2)])
def test_what_only_running_calls_hold_is_waited_for(limit):
    budgets, _, _, call = tree(limit, ENOUGH)
    prices = prices_of(1.0, None, 1.0)
    running = [reserved(budgets, call, 120, 20, prices=prices) for _ in range(2)]
    assert budgets.reserve(call, 100, 50, prices) is None
    budgets.refund(running[0])
    assert budgets.reserve(call, 100, 50, prices) is not None


def test_calls_are_counted_and_a_refunded_one_is_not():
    budgets, _, program, call = tree(ENOUGH, Budget(calls=1))
    budgets.refund(reserved(budgets, call, 1, 1))
    hold = reserved(budgets, call, 1, 1)
    assert budgets.reserve(call, 1, 1, FREE) is None
    budgets.settle(hold, Usage(1, 1))
    assert (program.spent.calls, program.held.calls) == (1, 0)
    with pytest.raises(QuotaExceeded, match="of 1 calls"):
        budgets.reserve(call, 1, 1, FREE)


def test_a_refund_leaves_nothing():
    budgets, *accounts = tree(ENOUGH, ENOUGH)
    budgets.refund(reserved(budgets, accounts[2], 100, 10, prices=PRICES))
    assert all(account.held == account.spent == Amount() for account in accounts)


def test_a_hold_is_settled_once():
    budgets, _, _, call = tree(ENOUGH, ENOUGH)
    hold = reserved(budgets, call, 100, 10)
    budgets.settle(hold, Usage(1, 1))
    with pytest.raises(Internal):
        budgets.refund(hold)


def test_a_budget_that_limits_nothing_needs_no_account():
    budgets = Budgets()
    tenant = budgets.tenant("acme")
    assert budgets.open("process 1", Budget(), tenant) is tenant
    assert budgets.open("process 1", None, tenant) is tenant
    assert budgets.tenant("acme") is tenant


def test_children_spend_out_of_their_parents_budget():
    budgets, _, program, _ = tree(ENOUGH, Budget(tokens=1000))
    child = budgets.open("process 13", Budget(tokens=5000), program)
    grandchild = budgets.open("process 14", Budget(tokens=900), child)
    budgets.settle(reserved(budgets, grandchild, 700, 100), Usage(700, 100))
    with pytest.raises(QuotaExceeded, match="process 12"):
        budgets.reserve(child, 200, 100, FREE)
    with pytest.raises(QuotaExceeded, match="process 14"):
        budgets.reserve(grandchild, 150, 100, FREE)


# ---- slices


def test_a_call_grows_while_it_streams_and_stops_at_its_last_token():
    budgets, _, _, call = tree(ENOUGH, Budget(tokens=1000))
    hold = reserved(budgets, call, 100, 10_000)
    made = next(made for made in range(10_000) if not budgets.grow(hold, made))
    assert made == 900
    assert "process 12" in str(hold.refused)
    budgets.settle(hold, Usage(100, made))
    assert call.spent.tokens == 1000


def test_a_call_stops_at_its_last_money():
    budgets, tenant, _, call = tree(Budget(money=0.01), ENOUGH)
    hold = reserved(budgets, call, 1000, 10_000, prices=PRICES)
    made = next(made for made in range(10_000) if not budgets.grow(hold, made))
    assert made == 466
    budgets.settle(hold, Usage(1000, made))
    assert 0.00998 * BILLION < tenant.spent.money <= 0.01 * BILLION


def test_an_answer_within_its_limit_is_never_stopped():
    budgets, _, _, call = tree(ENOUGH, Budget(tokens=150))
    hold = reserved(budgets, call, 100, 50)
    assert all(budgets.grow(hold, made) for made in range(51))
    assert hold.num_answer == 50


def test_no_more_than_a_slice_is_held_ahead():
    budgets, *accounts = tree(ENOUGH, ENOUGH)
    hold = reserved(budgets, accounts[2], 0, 10_000)
    for made in range(5_000):
        assert budgets.grow(hold, made)
        assert made < hold.num_answer <= made + 256 + 64 + 1


def test_near_the_end_a_slice_leaves_something_for_others():
    budgets, _, _, call = tree(ENOUGH, Budget(tokens=300))
    first = reserved(budgets, call, 50, 1000)
    second = reserved(budgets, call, 50, 1000)
    assert first.num_answer >= second.num_answer > 30


def test_a_call_that_stands_still_holds_what_it_has_been_given():
    budgets, top, _, call = tree(ENOUGH, Budget(tokens=1000))
    hold = reserved(budgets, call, 100, 900)
    assert budgets.grow(hold, 250)
    budgets.shrink(hold, 250)
    assert held(top, call) == [350, 350]
    assert budgets.go_on(hold, 250)
    assert held(top)[0] > 350


def test_a_call_that_goes_on_waits_for_what_others_hold_but_not_for_what_was_spent():
    budgets, _, _, call = tree(ENOUGH, Budget(tokens=400))
    still = reserved(budgets, call, 100, 900)
    budgets.shrink(still, 50)
    other = reserved(budgets, call, 249, 1)
    assert not budgets.go_on(still, 50)
    budgets.settle(other, Usage(249, 1))
    with pytest.raises(QuotaExceeded):
        budgets.go_on(still, 50)
    assert held(call) == [150]


# ---- prices


def test_the_cost_of_a_call():
    assert PRICES.cost(1_000_000, 100_000, 400_000) == Amount(1_100_000, round(3.42 * BILLION), 1)
    assert Prices(1, 1, 1).cost(1, 0).money == 1, "rounded up"
    assert prices_of(2.0, None, 1.0) == Prices(2 * BILLION, 2 * BILLION, BILLION)
    assert dearest([Prices(1, 2, 9), Prices(5, 1, 3)]) == Prices(5, 5, 9)
    assert dearest([]) == FREE


def test_a_call_without_a_core_is_held_at_the_dearest_price_until_it_is_placed():
    budgets, tenant, _, call = tree(Budget(money=1.0), ENOUGH)
    cheap = prices_of(0.3, None, 1.5)
    hold = reserved(budgets, call, 1000, 100, prices=dearest([PRICES, cheap]))
    before = tenant.held.money
    budgets.place(hold, cheap)
    assert tenant.held.money * 10 == before
    budgets.check()
    budgets.settle(hold, Usage(1000, 100))
    assert tenant.spent.money == cheap.cost(1000, 100).money


def test_a_core_that_is_too_dear_is_refused_and_the_hold_stays():
    budgets, tenant, _, call = tree(Budget(money=0.001), ENOUGH)
    hold = reserved(budgets, call, 1000, 100)
    with pytest.raises(QuotaExceeded, match="money"):
        budgets.place(hold, PRICES)
    assert hold.prices == FREE
    budgets.check()
    budgets.refund(hold)
    assert tenant.held == Amount()


def test_a_provider_that_counts_more_cached_tokens_than_it_was_sent_pays_nothing_back():
    budgets, tenant, _, call = tree(ENOUGH, ENOUGH)
    budgets.settle(reserved(budgets, call, 10, 10, prices=PRICES), Usage(10, 0, cached_tokens=10**9))
    assert tenant.spent.money == PRICES.cost(10, 0, 10).money


def test_limits_that_nobody_reaches():
    budgets, _, _, call = tree(Budget(money=1e300), Budget(money=float("inf")))
    assert budgets.reserve(call, 10**6, 100, PRICES) is not None


# ---- time


def test_time_runs_from_the_first_call_on():
    budgets, _, program, call = tree(Budget(wall_s=100), Budget(wall_s=10), Budget(wall_s=30))
    assert budgets.begin(program, now=5.0) == 15.0
    assert budgets.begin(call, now=14.0) == 15.0
    other = budgets.open("process 13", Budget(tokens=1), program.parent)
    assert budgets.begin(other, now=20.0) == 105.0
    with pytest.raises(QuotaExceeded, match=r"process 12 .* 10 s since the first call"):
        budgets.begin(call, now=15.0)
    budgets.check_time(other, 104.9)
    with pytest.raises(QuotaExceeded, match="tenant acme"):
        budgets.check_time(other, 105.0)


def test_without_a_limit_time_never_runs_out():
    budgets = Budgets()
    assert budgets.begin(budgets.tenant("acme"), 1.0) == float("inf")


# ---- nobody overspends


class Traffic:
    """Random calls of a tree of holders, in any order, each of which makes up to `piece` tokens at a time."""

    MAX_RUNNING = 12

    def __init__(self, seed: int, piece: int, scale: int) -> None:
        self.random = random.Random(seed)
        self.piece = piece
        self.scale = scale
        self.budgets = Budgets({"a": self.budget(8), "b": self.budget(8)})
        self.tenants = [self.budgets.tenant(name) for name in "abc"]
        self.accounts = list(self.tenants)
        self.running: list[tuple[Hold, int, int]] = []
        """Holds with the tokens made so far and those of the whole answer."""
        self.num_stopped = self.num_refused = self.num_waited = 0

    def budget(self, size: int) -> Budget:
        tokens, calls = size * self.scale, size * 20
        money = tokens * 10 / 1e6
        limits = [Budget(tokens=tokens), Budget(money=money), Budget(tokens=tokens, money=money)]
        return self.random.choice([Budget(), Budget(calls=calls), *limits])

    def step(self) -> Account | None:
        """Something happens. Gives the account in which, and in those above it, sums have changed."""
        deed = self.random.random()
        if deed < 0.02:
            parent = self.random.choice(self.accounts[-30:])
            account = self.budgets.open(f"process {len(self.accounts)}", self.budget(2), parent)
            self.accounts.append(account)
        elif deed < 0.3 and len(self.running) < self.MAX_RUNNING:
            return self.start()
        elif self.running:
            return self.advance(self.random.randrange(len(self.running)))
        return None

    def start(self) -> Account | None:
        account = self.random.choice(self.accounts[:3] + self.accounts[-20:])
        account = self.budgets.open("call 1", self.budget(1), account)
        num_prompt, max_answer = self.random.randrange(200), 1 + int(self.random.lognormvariate(5.3, 1.0))
        try:
            hold = self.budgets.reserve(account, num_prompt, max_answer, PRICES)
        except QuotaExceeded:
            self.num_refused += 1
            return None
        if hold is None:
            self.num_waited += 1
            return None
        self.running.append((hold, 0, self.random.randint(1, max_answer)))
        return account

    def advance(self, index: int) -> Account:
        hold, made, num_answer = self.running[index]
        may_go_on = self.budgets.grow(hold, made)
        self.num_stopped += not may_go_on
        if self.random.random() < 0.03:
            self.budgets.refund(self.leave(index))
        elif self.random.random() < 0.05:
            self.budgets.shrink(hold, made)
        elif self.random.random() < 0.05:
            with suppress(QuotaExceeded):
                self.budgets.place(hold, self.random.choice([PRICES, prices_of(1.0, 0.1, 5.0)]))
        elif may_go_on and made < num_answer:
            made = min(num_answer, made + self.random.randint(1, self.piece))
            self.running[index] = hold, made, num_answer
        else:
            num_cached = self.random.randint(0, hold.num_prompt)
            self.budgets.settle(self.leave(index), Usage(hold.num_prompt, made, num_cached))
        return hold.account

    def leave(self, index: int) -> Hold:
        self.running[index], self.running[-1] = self.running[-1], self.running[index]
        return self.running.pop()[0]

    def check(self, accounts: Iterable[Account]) -> None:
        """The most that anybody is over: what running calls made between asking and being told to stop."""
        over = self.MAX_RUNNING * (self.piece - 1)
        for account in accounts:
            assert account.spent.tokens <= account.limit.tokens + over
            assert account.spent.money <= account.limit.money + PRICES.cost(0, over).money
            assert account.spent.calls + account.held.calls <= account.limit.calls
            if self.piece == 1:
                assert account.spent.tokens + account.held.tokens <= account.limit.tokens
                assert account.spent.money + account.held.money <= account.limit.money

    def end(self) -> None:
        while self.running:
            self.advance(0)
        self.check(self.accounts)
        self.budgets.check()
        assert all(account.held == Amount() for account in self.accounts)


@given(seed=st.integers(0, 2**32), piece=st.integers(1, 256), scale=st.integers(1, 3000))
def test_no_order_of_events_overspends(seed, piece, scale):
    traffic = Traffic(seed, piece, scale)
    for _ in range(100):
        traffic.step()
        traffic.check({one for hold, _, _ in traffic.running for one in hold.account.chain()})
        traffic.check(traffic.accounts)
        traffic.budgets.check()
    traffic.end()


@pytest.mark.slow
@pytest.mark.parametrize("piece", [1, 64])
def test_long_traffic_never_overspends(piece):
    num_stopped = num_refused = num_waited = 0
    for number in range(0, NUM_OPERATIONS, 2000):
        traffic = Traffic(number, piece, random.Random(number).choice([100, 1000, 5000]))
        for turn in range(2000):
            if (account := traffic.step()) is not None:
                traffic.check(account.chain())
            if turn % 100 == 0:
                traffic.budgets.check()
        traffic.end()
        num_stopped += traffic.num_stopped
        num_refused += traffic.num_refused
        num_waited += traffic.num_waited
    assert min(num_stopped, num_refused, num_waited) > NUM_OPERATIONS / 1000, (
        "all that can happen has happened"
    )


# ---- what is kept


def test_rows_say_what_a_tenant_has_spent():
    budgets = Budgets(epoch=1000.0)
    tenant = budgets.tenant("acme")
    program = budgets.open("process 12", ENOUGH, tenant)
    budgets.begin(program, now=7.0)
    budgets.settle(reserved(budgets, program, 1000, 100, prices=PRICES), Usage(1000, 100))
    assert budgets.take_changes() == [("tenant acme", 1100, 4_500_000, 1, 1007.0)]
    assert not budgets.has_changes


def test_a_budget_goes_on_after_a_restart():
    budgets = Budgets({"acme": Budget(tokens=1000, wall_s=60)}, epoch=5000.0)
    budgets.load([("tenant acme", 900, 5, 3, 4990.0), ("process 12", 70, 0, 1, None)])
    tenant = budgets.tenant("acme")
    assert (tenant.spent, tenant.began) == (Amount(900, 5, 3), -10.0)
    with pytest.raises(QuotaExceeded, match="900 are spent"):
        budgets.reserve(tenant, 200, 10, FREE)
    program = budgets.open("process 12", Budget(tokens=100), tenant, is_kept=True)
    with pytest.raises(QuotaExceeded, match="process 12"):
        budgets.reserve(program, 40, 10, FREE)
    with pytest.raises(QuotaExceeded, match="tenant acme"):
        budgets.begin(program, now=50.0)


def test_the_row_of_a_process_that_has_ended_goes():
    budgets = Budgets()
    tenant = budgets.tenant("acme")
    program = budgets.open("process 12", ENOUGH, tenant, is_kept=True)
    budgets.begin(program, 0.0)
    budgets.take_changes()
    hold = reserved(budgets, program, 10, 10)
    budgets.close(program)
    budgets.close(tenant)
    budgets.settle(hold, Usage(10, 10))
    assert budgets.take_changes() == ["process 12", ("tenant acme", 20, 0, 1, 0.0)]
    assert list(budgets.statistics()) == ["tenant acme"]


def test_what_could_not_be_written_is_written_later_as_it_is_then():
    budgets = Budgets()
    tenant = budgets.tenant("acme")
    program = budgets.open("process 12", ENOUGH, tenant, is_kept=True)
    budgets.settle(reserved(budgets, program, 10, 10), Usage(10, 0))
    changes = budgets.take_changes()
    budgets.settle(reserved(budgets, tenant, 10, 10), Usage(5, 0))
    budgets.close(program)
    budgets.put_back(changes)
    assert budgets.take_changes() == [("tenant acme", 15, 0, 2, None), "process 12"]
