"""The figures that benches report."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aios.bench.report import Distribution, distribution, environment, spread


def test_percentiles_are_values_that_occurred():
    assert distribution([float(n) for n in range(1, 101)]) == Distribution(50.5, 50.0, 90.0, 99.0)
    assert distribution([7.0]) == Distribution(7.0, 7.0, 7.0, 7.0)
    assert distribution([]) == Distribution()


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_in_order(values):
    found = distribution(values)
    assert min(values) <= found.p50 <= found.p90 <= found.p99 <= max(values)
    assert sum(value <= found.p90 for value in values) >= 0.9 * len(values)


def test_spread_is_median_and_ends():
    found = spread([3.0, 1.0, 2.0])
    assert (found.median, found.low, found.high) == (2.0, 1.0, 3.0)


def test_the_environment_says_what_was_measured_where():
    found = environment()
    assert {"commit", "python", "cpu", "cores", "versions"} <= found.keys()
    assert found["cores"] >= 1
    assert "numpy" in found["versions"]
