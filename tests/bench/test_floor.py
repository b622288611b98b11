"""The store's floor counts rows that were acknowledged, and the commits that served them."""

import apsw

from aios.bench.floor import floor


async def test_all_rows_are_written_and_share_commits(tmp_path):
    measured = await floor(tmp_path, num_writers=10, num_rows=200, num_bytes=100)
    assert measured.per_second > 0
    assert 1 < measured.per_commit <= 10
    stored = apsw.Connection(str(tmp_path / "floor.db"))
    assert stored.execute("SELECT count(*), min(length(body)) FROM bare").fetchone() == (200, 100)
    stored.close()
