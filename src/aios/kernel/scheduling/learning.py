"""What was learnt of programs outlives a restart: the rows of `Estimates` in the store."""

import apsw

from aios.drivers.sealing import Sealed
from aios.drivers.store import Store
from aios.kernel.keeping import Keeper
from aios.kernel.scheduling.estimates import EstimateRow, Estimates

PROGRAMS = 64
"""That end between two writings: losing a few of them costs little, writing each costs much."""

_TABLES = """
CREATE TABLE estimates (
    agent TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    data BLOB NOT NULL
) WITHOUT ROWID;
"""


ROWS = Sealed("estimates", "agent version data")


class Learning:
    """Keeps `estimates`."""

    def __init__(self, estimates: Estimates, store: Store) -> None:
        self.estimates = estimates
        self._store = store
        self._keeper = Keeper(store, estimates.take_rows, _write, self._put_back)
        self._num_new = 0

    async def start(self) -> None:
        """Read what was learnt before."""
        await self._store.migrate("estimates", [_TABLES, *ROWS.steps])
        self.estimates.load(await self._store.read(_read))

    async def close(self) -> None:
        await self._keeper.close()

    def finished(self, agent: str, services: list[float]) -> None:
        """A program of this kind ended well, with the service of each of its steps."""
        self.estimates.finished(agent, services)
        self._num_new += 1
        if self._num_new >= PROGRAMS:
            self._num_new = 0
            self._keeper.wake()

    def _put_back(self, rows: list[EstimateRow]) -> None:
        self.estimates.changed(agent for agent, _, _ in rows)


def _read(connection: apsw.Connection) -> list[tuple[object, ...]]:
    return ROWS.rows(connection)


def _write(connection: apsw.Connection, rows: list[EstimateRow]) -> None:
    for row in rows:
        ROWS.put(connection, *row)
