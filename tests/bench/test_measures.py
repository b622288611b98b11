"""What a trial came to, on records made by hand."""

import pytest
from msgspec import structs

from aios.bench.schedule import measures, records
from aios.bench.schedule.program import Speed
from aios.bench.schedule.records import CallRecord, ProgramRecord, Trial
from aios.bench.upstream.ledger import Ledger, Report
from aios.bench.upstream.work import Work

SPEED = Speed(prefill_s=0.1, decode_s=1.0)


class Made:
    """A trial on `slots` slots that is told call by call what happened."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.spans: list[tuple[Work, str, float, float, float]] = []
        self.refusals: list[tuple[float, int]] = []
        self.programs: dict[int, ProgramRecord] = {}

    def call(
        self, program: int, created: float, begun: float, ended: float, *, n_in=10, n_out=10, tenant="a"
    ):
        work = Work(len(self.spans) + 1, n_in, n_out)
        self.spans.append((work, tenant, created, begun, ended))
        record = self.programs.setdefault(program, ProgramRecord(program, tenant, "made", created))
        record.end, record.state = max(record.end or 0.0, ended), "done"
        return self

    def report(self) -> Report:
        ledger = Ledger(0.0, self.slots)
        events = [(begun, 1, work) for work, _, _, begun, _ in self.spans]
        events += [(ended, 0, work) for work, _, _, _, ended in self.spans]
        events += [(at, 2, Work(call, 1, 1)) for at, call in self.refusals]
        entries, running = {}, 0
        for now, kind, work in sorted(events, key=lambda event: event[:2]):
            if kind == 2:
                ledger.refused(now, work, "slots")
                continue
            running += 1 if kind else -1
            ledger.stands(now, running, 0, running, self.slots)
            if kind:
                entries[work.id] = ledger.let_in(now, work)
                ledger.began(now, entries[work.id])
            else:
                ledger.ended(now, entries[work.id], "done")
        return ledger.report(max((ended for *_, ended in self.spans), default=0.0))

    def trial(self) -> Trial:
        calls = [
            CallRecord(work.id, 0, tenant, work.n_in, work.n_out, created, left=ended)
            for work, tenant, created, _, ended in self.spans
        ]
        report = self.report()
        records.join(calls, report, SPEED)
        return Trial("made", "by hand", 0, self.slots, list(self.programs.values()), calls, report)


def test_a_summary_of_programs_and_calls():
    made = Made(1).call(1, 0, 0, 4).call(2, 1, 4, 8).call(3, 2, 8, 10)
    made.refusals = [(0.5, 2), (31.0, 9)]
    found = measures.summary(made.trial())
    assert (found.programs, found.lost, found.makespan_s) == (3, 0, 10)
    assert found.mean_s == pytest.approx((4 + 7 + 8) / 3)
    assert found.calls_per_s == pytest.approx(0.3)
    assert found.rejections == pytest.approx(2 / 4)


def test_what_is_lost_counts_as_lost_and_in_no_turnaround():
    trial = Made(1).call(1, 0, 0, 4).call(2, 0, 4, 9).trial()
    trial.programs[1].state = "lost"
    found = measures.summary(trial)
    assert (found.lost, found.mean_s, found.makespan_s) == (1, 4, 9)


def test_a_slot_is_idle_only_while_a_call_waits_that_could_have_it():
    # Two slots for ten seconds; from 4 to 6 a call waits and one slot is free.
    trial = Made(2).call(1, 0, 0, 10).call(2, 0, 0, 4).call(3, 4, 6, 10).trial()
    assert measures.idle_with_backlog(trial) == pytest.approx(2 / 20)


def test_pauses_of_the_machine_are_left_out():
    trial = Made(2).call(1, 0, 0, 10).call(2, 0, 0, 4).call(3, 4, 6, 10).trial()
    trial.paused = [(4.0, 5.0), (4.5, 5.5)]
    assert measures.idle_with_backlog(trial) == pytest.approx(0.5 / 17)


def test_no_slot_is_idle_where_nobody_waits():
    trial = Made(4).call(1, 0, 0, 2).call(2, 5, 5, 10).trial()
    assert measures.idle_with_backlog(trial) == 0.0


def test_a_call_that_is_given_up_waits_no_longer():
    trial = Made(2).call(1, 0, 0, 10).trial()
    trial.calls.append(CallRecord(99, 0, "a", 1, 1, created=2.0, left=3.0, is_lost=True))
    assert measures.idle_with_backlog(trial) == pytest.approx(1 / 20)


def test_there_is_enough_to_do_while_as_many_wait_as_there_are_slots():
    trial = Made(1).call(1, 0, 0, 4).call(2, 0, 4, 6).call(3, 0, 6, 9).trial()
    assert measures.backlog_end(trial) == 6


def test_slots_in_use_by_the_window():
    trial = Made(2).call(1, 0, 0, 10).call(2, 0, 5, 10).trial()
    assert measures.used_over_time(trial, 5.0)[:2] == [(0.0, pytest.approx(1.0)), (5.0, pytest.approx(2.0))]


def test_it_has_settled_when_all_is_used_and_nearly_nothing_refused():
    made = Made(1)
    for second in (*range(0, 10), *range(17, 200)):
        made.call(second, second, second, second + 1)
    made.refusals = [(21.0, 1), (22.0, 1), (23.0, 1)]
    trial = made.trial()
    # Idle from 10 to 17; three refusals are more than one in a hundred of what comes after them.
    assert measures.resettle_s(trial, 10.0, 200.0) == 15.0
    trial.report = structs.replace(trial.report, refusals=trial.report.refusals[:1])
    assert measures.resettle_s(trial, 10.0, 200.0) == 10.0


def test_what_never_settles_takes_all_the_time_there_was():
    trial = Made(2).call(1, 0, 0, 60).trial()
    assert measures.resettle_s(trial, 10.0, 50.0) == 40.0


def two_tenants() -> Trial:
    """One slot, calls of ten seconds after a prompt of one; `b` has its turns after `a`, who has one more."""
    made = Made(1)
    for turn in range(3):
        made.call(turn, 0, 22 * turn, 22 * turn + 11, tenant="a")
        made.call(10 + turn, 0, 22 * turn + 11, 22 * turn + 22, tenant="b")
    return made.call(3, 0, 66, 77, tenant="a").trial()


def test_service_is_a_prompt_at_once_and_an_answer_as_it_streams():
    times, values = measures.services(two_tenants())["a"]
    by_time = dict(zip(times.tolist(), values.tolist(), strict=True))
    assert by_time[0.0] == pytest.approx(10)
    assert by_time[1.0] == pytest.approx(10)
    assert by_time[11.0] == pytest.approx(30)
    assert by_time[22.0] == pytest.approx(40)
    assert measures.shares(two_tenants(), (0.0, 6.0))["a"] == pytest.approx(20)


def test_tenants_are_backlogged_while_calls_of_each_wait():
    trial = two_tenants()
    assert measures.backlogged(trial, ("a", "b")) == [(0.0, 55.0)]
    assert measures.all_backlogged(trial) == (0.0, 55.0)
    assert measures.backlogged(trial, ("a",)) == [(0.0, 66.0)]


def test_the_largest_gap_is_within_what_both_wait():
    assert measures.largest_gap(two_tenants(), {}) == pytest.approx(30)
    # With twice the weight every turn of `a` counts half, and `b` draws away.
    assert measures.largest_gap(two_tenants(), {"a": 2.0}) == pytest.approx(45)


def test_shares_against_weights():
    trial = two_tenants()
    span = (0.0, 66.0)
    assert measures.weights_error(trial, (0.0, 65.9), {}) == pytest.approx(0.0, abs=0.01)
    assert measures.jain_index(trial, (0.0, 65.9), {}) == pytest.approx(1.0, abs=1e-4)
    assert measures.weights_error(trial, (0.0, 65.9), {"a": 3.0}) == pytest.approx(1.0, abs=0.01)
    assert measures.jain_index(trial, (0.0, 65.9), {"a": 3.0}) == pytest.approx(0.8, abs=0.01)
    assert measures.service_rate(trial, span) == pytest.approx((90 + 100) / 66)


def test_deadlines_are_met_or_not():
    trial = Made(1).call(1, 0, 0, 4).call(2, 0, 4, 8).call(3, 0, 8, 9).trial()
    for program, deadline in zip(trial.programs, (5.0, 5.0, None), strict=True):
        program.deadline = deadline
    assert measures.on_time(trial) == 0.5


def test_the_try_that_was_answered_is_the_one_that_counts():
    ledger = Ledger(0.0, 2)
    work = Work(1, 10, 5)
    for arrived, began, ended, outcome in ((0.0, 0.0, 1.0, "broken"), (2.0, 3.0, 9.0, "done")):
        entry = ledger.let_in(arrived, work)
        ledger.began(began, entry)
        ledger.ended(ended, entry, outcome)
    call = CallRecord(1, 1, "a", 10, 5, created=0.0)
    records.join([call], ledger.report(10.0), SPEED)
    assert (call.begun, call.first, call.ended) == (3.0, 4.0, 9.0)
