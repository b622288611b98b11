"""The learnt tables: quantiles, Gittins ranks and steps against their definitions; memory; keeping."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.kernel.scheduling import estimates
from aios.kernel.scheduling.estimates import Estimates


def taught(programs: list[list[float]], agent: str = "react") -> Estimates:
    learnt = Estimates()
    for services in programs:
        learnt.finished(agent, services)
    return learnt


def of_totals(totals: list[float]) -> Estimates:
    return taught([[total] for total in totals])


def heavy(random: random.Random, num_programs: int) -> list[list[float]]:
    found = []
    for _ in range(num_programs):
        num_steps = max(1, round(random.lognormvariate(math.log(2.2), 1.7)))
        found.append(
            [400 + 2 * random.lognormvariate(math.log(200), 1.0) for _ in range(min(num_steps, 300))]
        )
    return found


# ---- what is not known


def test_a_kind_nobody_has_seen():
    learnt = Estimates()
    assert learnt.remaining("react", 0, 0.0) is None
    assert learnt.gittins("react", 0.0) is None
    assert learnt.steps_left("react", 0) is None


def test_a_few_programs_tell_nothing():
    few = taught([[100.0]] * 29)
    assert few.remaining("react", 0, 0.0) is few.gittins("react", 0.0) is None
    assert taught([[100.0]] * 2).steps_left("react", 0) is None
    assert taught([[100.0] * 7] * 3).steps_left("react", 0) == 7, "a mean asks for fewer"
    few.finished("react", [])
    assert few.remaining("react", 0, 0.0) is None
    enough = taught([[100.0]] * 60)
    assert enough.remaining("react", 0, 0.0) is not None
    assert enough.gittins("react", 0.0) is not None
    assert enough.steps_left("react", 0) == 1.0
    assert enough.remaining("other", 0, 0.0) is None


def test_beyond_all_that_was_seen_as_much_again_is_expected():
    learnt = of_totals([100.0] * 200)
    for ask in (learnt.remaining("react", 40, 50_000.0), learnt.gittins("react", 50_000.0)):
        assert ask == (50_000.0, 0)
    assert learnt.steps_left("react", 40) == 40


# ---- service that is left


@pytest.mark.parametrize("step", range(6))
def test_the_place_of_a_program_tells_what_is_left(step):
    learnt = taught([[300.0] * 6] * 100)
    known = learnt.remaining("react", step, 300.0 * step)
    assert known is not None
    assert known[0] == pytest.approx(300.0 * (6 - step), rel=0.1)
    assert known[1] > 90


def test_the_quantile_that_is_left_at_the_start():
    programs = heavy(random.Random(1), 3000)
    left, num_samples = taught(programs).remaining("react", 0, 0.0)
    share_below = statistics.fmean(sum(services) <= left for services in programs)
    assert share_below == pytest.approx(0.8, abs=0.05)
    assert num_samples > 2000


def test_a_place_that_few_have_passed_is_answered_by_its_service_alone():
    programs = heavy(random.Random(2), 3000)
    left, num_samples = taught(programs).remaining("react", 11, 2500.0)
    beyond = [sum(services) - 2500.0 for services in programs if sum(services) > 2500.0]
    assert statistics.fmean(one <= left for one in beyond) == pytest.approx(0.8, abs=0.07)
    assert 0.6 * len(beyond) < num_samples < 1.4 * len(beyond)


def test_what_is_left_follows_change():
    learnt = of_totals([100.0] * 3000)
    for _ in range(9_000):
        learnt.finished("react", [10_000.0])
    left, _ = learnt.remaining("react", 0, 0.0)
    assert left == pytest.approx(10_000.0, rel=0.2)
    rank, _ = learnt.gittins("react", 0.0)
    assert rank > 500


# ---- Gittins


def lognormal_hazard(x: float) -> float:
    normal = statistics.NormalDist()
    z = (math.log(x) - 7) / 1.5
    return normal.pdf(z) / (1.5 * x * (1 - normal.cdf(z)))


@pytest.mark.parametrize("attained", [256.0, 1024.0, 4096.0])
@pytest.mark.parametrize(
    ("draw", "rank_at"),
    [
        (lambda draw: draw.uniform(0, 10_000), lambda attained: (10_000 - attained) / 2),
        (lambda draw: draw.expovariate(1 / 3000), lambda attained: 3000),
        (
            lambda draw: draw.lognormvariate(7, 1.5),
            lambda attained: 1 / lognormal_hazard(attained),
        ),
    ],
    ids=["ever more likely to end", "always as likely", "less and less likely"],
)
def test_ranks_are_near_those_that_theory_gives(draw, rank_at, attained):
    """All that is left, the mean, and one over the chance to end right now."""
    source = random.Random(7)
    rank, _ = of_totals([draw(source) for _ in range(1500)]).gittins("react", attained)
    assert rank == pytest.approx(rank_at(attained), rel=0.3)


def test_ranks_know_that_the_long_ones_are_over_the_hump():
    """Of programs that take 300 or 9,000: first likely short, then surely long, then nearly done."""
    learnt = of_totals([300.0, 9000.0] * 500)
    fresh, passed, last = (learnt.gittins("react", attained)[0] for attained in (0.0, 600.0, 8192.0))
    assert last < passed
    assert fresh < passed / 10


@given(attained=st.floats(0, 1e12), seed=st.integers(0, 20))
def test_answers_are_finite_and_positive_anywhere(attained, seed):
    learnt = taught(heavy(random.Random(seed), 60))
    for known in (learnt.remaining("react", seed, attained), learnt.gittins("react", attained)):
        assert known is not None
        assert 0 < known[0] < math.inf
    assert 1 <= learnt.steps_left("react", seed * seed) < math.inf


@given(st.lists(st.lists(st.floats(0, 1e15), min_size=1, max_size=20), max_size=50))
def test_any_program_can_be_learnt_from(programs):
    learnt = taught(programs)
    again = Estimates()
    again.load(learnt.take_rows())
    for one in (learnt, again):
        known = one.remaining("react", 3, 1000.0)
        assert known is None or 0 <= known[0] < math.inf


# ---- steps


def test_steps_left_of_programs_that_are_all_alike():
    learnt = taught([[100.0] * 5] * 100)
    assert [learnt.steps_left("react", step) for step in range(5)] == [5, 4, 3, 2, 1]
    assert learnt.steps_left("react", 5) == 5, "more than any before: as many again"


def test_steps_left_are_the_mean_of_those_that_go_on():
    programs = heavy(random.Random(3), 4000)
    learnt = taught(programs)
    for step in (0, 1, 4, 20, 40):
        beyond = [len(services) - step for services in programs if len(services) > step]
        assert learnt.steps_left("react", step) == pytest.approx(statistics.fmean(beyond), rel=0.25)


@pytest.mark.parametrize("step", [150, 160, 170])
def test_a_long_chain_that_goes_on_beyond_the_mean_still_has_steps_left(step):
    """As good as done, it would be left for the end, and then go on alone. All are of one wide bin."""
    learnt = taught([[100.0] * (141 + number) for number in range(30)])
    left = learnt.steps_left("react", step)
    assert left == pytest.approx((170 - step) / 2, abs=4) or left == step
    assert left > 1.0


# ---- memory and keeping


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(estimates, "MAX_KINDS", 3)
    learnt = Estimates()
    for agent in "abacad":
        learnt.finished(agent, [1.0])
    assert learnt.statistics() == {"kinds": 3}
    assert [agent for agent, _, _ in sorted(learnt.take_rows())] == ["a", "c", "d"]


def test_a_kind_takes_some_kilobytes():
    learnt = taught([*heavy(random.Random(4), 3000), [1000.0] * 10_000])
    ((_, _, data),) = learnt.take_rows()
    assert len(data) < 16_000


def test_what_was_learnt_is_found_again():
    learnt = taught(heavy(random.Random(5), 500))
    rows = learnt.take_rows()
    assert learnt.take_rows() == []
    again = Estimates()
    again.load(rows)
    # What was worked out last may lag behind what is known.
    for attained in (0.0, 700.0, 5000.0):
        assert again.remaining("react", 1, attained) == pytest.approx(
            learnt.remaining("react", 1, attained), rel=0.2
        )
        assert again.gittins("react", attained) == pytest.approx(learnt.gittins("react", attained), rel=0.2)
    again.finished("react", [10.0])
    assert [agent for agent, _, _ in again.take_rows()] == ["react"]


def test_what_another_version_kept_is_learnt_anew():
    learnt = Estimates()
    learnt.load([("react", estimates.VERSION + 1, b"whatever")])
    assert learnt.statistics() == {"kinds": 0}
