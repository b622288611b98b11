"""The storage bench: what it prints, measured over next to nothing."""

from aios.bench import storage
from aios.bench.storage import Pace


def test_every_goal_is_measured_beside_its_bound(monkeypatch):
    monkeypatch.setattr(storage, "AGENTS", 3)
    monkeypatch.setattr(storage, "QUICK", Pace(1, 0.01, 2, (20, 40), 30, 40, 5, 20, 3))
    told = []
    result = storage.run(True, 0, told.append)
    assert [row["what"] for row in result.rows] == [
        *("3 agents, new files", "3 agents, files overwritten", "3 agents, files appended to"),
        *("20 files", "40 files"),
        *(
            "of 40 files, asked by their words",
            "of 40 files, asked misspelt",
            "of 40 files, asked in other words",
        ),
        *(
            "a directory of 20 files taken in, a file",
            "a start over it, nothing changed, a file",
            "a write elsewhere",
            "a write until it is in the directory",
            "a change in the directory, and a read",
            "a read in the mount",
            "a read elsewhere",
        ),
    ]
    assert all(row["per s"] > 0 for row in result.rows[:5])
    assert all(row["cpu ms"] > 0 for row in result.rows[8:])
    assert result.rows[5]["keyword 5/10"] == "1.00 / 1.00"
    assert {key: goal.quick for key, goal in result.goals.items()} == {
        "storage.writes_per_second": True,
        "storage.startup_seconds": True,
    }
    assert told
