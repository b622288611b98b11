"""The figures that benches report."""

from aios.bench.report import environment, spread


def test_spread_is_median_and_ends():
    found = spread([3.0, 1.0, 2.0])
    assert (found.median, found.low, found.high) == (2.0, 1.0, 3.0)


def test_the_environment_says_what_was_measured_where():
    found = environment()
    assert {"commit", "python", "cpu", "cores", "versions"} <= found.keys()
    assert found["cores"] >= 1
    assert "numpy" in found["versions"]
