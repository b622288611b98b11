"""A disk without real flushes for what is found after a crash, and the counts that the suite prints."""

import pytest
from crash_recording import QUICK

from fakes.disk import Disk


@pytest.fixture(autouse=True)
def quick_disk():
    disk = Disk(QUICK, is_default=True)
    yield disk
    disk.unregister()


@pytest.fixture
def count(record_property):
    """Says what was tried and found, at the end of the run."""
    return lambda sentence: record_property("count", sentence)


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    lines = [value for report in reports for name, value in report.user_properties if name == "count"]
    if lines:
        terminalreporter.section("crashes")
    for line in lines:
        terminalreporter.write_line(line)
