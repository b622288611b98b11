"""Fair shares of tenants: the virtual token counter (VTC, arXiv 2401.00588, section 4).

The tenant with the smallest counter is served first. A counter grows by the service given over the tenant's
weight. A tenant that comes back is lifted to the smallest counter among the busy ones: what it did not use
while it was away is not owed to it.
"""

import heapq
from collections.abc import Mapping
from itertools import count

from aios.kernel.program import Tenant


class Fairness:
    """All tenants. `weights` are those that are not 1."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._tenants: dict[str, Tenant] = {}
        self._order = count()
        self._busy: list[tuple[float, int, Tenant]] = []
        """Those that wait, by counters that may have risen since."""
        self._last = 0.0
        """The counter of the tenant that last had nothing more to wait for."""

    def tenants(self) -> list[Tenant]:
        return list(self._tenants.values())

    def tenant(self, name: str) -> Tenant:
        """The tenant called so, made where there is none yet."""
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = Tenant(name, self._weights.get(name, 1.0))
            if len(self._tenants) == 1:  # The first had nobody to be compared with.
                self._list(*self._tenants.values())
            self._tenants[name] = tenant
        return tenant

    def queued(self, tenant: Tenant) -> None:
        """One more of its calls waits."""
        tenant.num_waiting += 1
        if tenant.num_waiting > 1 or len(self._tenants) == 1:
            return
        least = self._least_busy()
        tenant.counter = max(tenant.counter, self._last if least is None else least)
        self._list(tenant)

    def unqueued(self, tenant: Tenant) -> None:
        """One of its calls no longer waits."""
        tenant.num_waiting -= 1
        if not tenant.num_waiting:
            self._last = tenant.counter

    def charge(self, tenant: Tenant, service: float) -> None:
        """Count service given, or taken back where an estimate was too high."""
        tenant.service += service
        tenant.counter += service / tenant.weight
        if service < 0:
            for share in tenant.shares:
                share.line_up()

    def _list(self, tenant: Tenant) -> None:
        if tenant.num_waiting and not tenant.is_listed:
            tenant.is_listed = True
            heapq.heappush(self._busy, (tenant.counter, next(self._order), tenant))

    def _least_busy(self) -> float | None:
        """The smallest counter of those that wait; None where nobody does."""
        while self._busy:
            counter, order, tenant = self._busy[0]
            if not tenant.num_waiting:
                heapq.heappop(self._busy)
                tenant.is_listed = False
            elif counter < tenant.counter:
                heapq.heapreplace(self._busy, (tenant.counter, order, tenant))
            else:
                return tenant.counter
        return None
