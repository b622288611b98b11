"""How an upstream says no: statuses, headers and bodies, in the shapes that servers in use have."""

import math

import msgspec


class Refused(Exception):
    """An answer that is no success. Header names are lower case."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body.decode()}")
        self.status = status
        self.body = body
        self.headers = headers or {}


class Broken(Exception):
    """The answer, or what should have become one, breaks off. `body` is the error that is sent, if one is."""

    def __init__(self, body: bytes = b"") -> None:
        super().__init__(body.decode() or "the connection broke")
        self.body = body


def too_many_at_once(limit: int) -> Refused:
    said = f"Too many concurrent requests: the limit is {limit}. Wait for one to finish, then try again."
    return Refused(429, _error(said, "too_many_requests", "concurrency_limit_exceeded"))


def over_rate(name: str, wait_s: float, headers: dict[str, str], *, tells: bool) -> Refused:
    said = f"Rate limit reached for {name} per minute."
    if not tells:
        return Refused(429, _error(said, name, "rate_limit_exceeded"))
    later = {"retry-after": str(math.ceil(wait_s)), "retry-after-ms": str(math.ceil(1000 * wait_s))}
    said += f" Please try again in {wait_s:.3f}s."
    return Refused(429, _error(said, name, "rate_limit_exceeded"), headers | later)


def failed() -> Refused:
    return Refused(
        500, _error("The server had an error while processing your request.", "server_error", None)
    )


def unavailable() -> Refused:
    return Refused(503, _error("The server is not available.", "server_error", None))


def out_of_memory() -> Broken:
    """An error in the stream; it becomes a status where the answer is not streamed."""
    return Broken(_error("CUDA out of memory.", "server_error", "503"))


def _error(message: str, kind: str, code: str | None) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})
