"""What a provider allows in a minute: a bucket of requests, one of tokens, and the headers that tell of them.

The buckets fill continuously, as OpenAI's do. Pure: `now` is an argument.
"""

import math

from aios.bench.upstream.work import Work


class Bucket:
    """Holds up to what `burst_s` seconds bring, and is full at first."""

    def __init__(self, per_minute: int, burst_s: float, now: float) -> None:
        self.rate = per_minute / 60
        self.size = self.rate * burst_s
        self._level = self.size
        self._at = now

    def level(self, now: float) -> float:
        self._level = min(self.size, self._level + (now - self._at) * self.rate)
        self._at = now
        return self._level

    def wait_s(self, now: float, amount: float) -> float:
        """Seconds until `amount` is there. What is larger than the bucket needs a full one."""
        lacking = min(amount, self.size) - self.level(now)
        # A caller that waits for as long as it was told shall not fail by a rounding error.
        return lacking / self.rate if lacking > 1e-6 else 0.0

    def take(self, now: float, amount: float) -> None:
        """Never below nothing: a rejected call can cost no more than there is."""
        self._level = max(0.0, self.level(now) - amount)

    def headers(self, now: float, name: str) -> dict[str, str]:
        level = self.level(now)
        return {
            f"x-ratelimit-limit-{name}": str(int(self.size)),
            f"x-ratelimit-remaining-{name}": str(int(level)),
            f"x-ratelimit-reset-{name}": span((self.size - level) / self.rate),
        }


class Quota:
    """Both buckets; 0 a minute means that there is no such limit."""

    def __init__(self, rpm: int, tpm: int, burst_s: float, now: float) -> None:
        limits = {"requests": rpm, "tokens": tpm}
        self._buckets = {name: Bucket(limit, burst_s, now) for name, limit in limits.items() if limit}

    def lacking(self, now: float, work: Work) -> tuple[str, float]:
        """Which bucket has to be waited for longest, and for how many seconds: 0 when none has to be."""
        waits = [(bucket.wait_s(now, _cost(name, work)), name) for name, bucket in self._buckets.items()]
        wait_s, name = max(waits, default=(0.0, ""))
        return name, wait_s

    def take(self, now: float, work: Work, share: float = 1.0) -> None:
        """Charge a call, or the `share` of it that a rejected one costs."""
        for name, bucket in self._buckets.items():
            bucket.take(now, share * _cost(name, work))

    def headers(self, now: float) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, bucket in self._buckets.items():
            found |= bucket.headers(now, name)
        return found


def _cost(name: str, work: Work) -> int:
    """Tokens are charged when a call begins, the answer's too: as if it had asked for just as many."""
    return 1 if name == "requests" else work.num_tokens


def span(seconds: float) -> str:
    """As OpenAI writes it: `20ms`, `1.5s`, `6m0s`."""
    milliseconds = math.ceil(1000 * seconds - 1e-6)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1000:g}s" if minutes else f"{rest / 1000:g}s"
