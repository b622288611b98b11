"""What stands before every HTTP request: is it for this host, is it no web page's, do we still serve?

A page in a browser may make requests of a server on its own machine, under any name that resolves to it: so
a request's Host must be a name of ours, and a request with an Origin must come from one that was allowed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from starlette.exceptions import HTTPException

from aios.abi import wire
from aios.abi.errors import (
    AiosError,
    Cancelled,
    Internal,
    InvalidArgument,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Unavailable,
)
from aios.server.asgi import CALL, ClientGone, Message, Receive, Scope, Send, header_of, send_error

log = logging.getLogger("aios.server")

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

_GRACE_S = 1.0
"""What clients have, when the kernel ends, to read their last answers."""

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI application before another, and the one place where its errors become answers."""

    def __init__(self, app: App, own_host: str, allowed_hosts: Iterable[str] = ()) -> None:
        """`own_host` is where it listens; pages that come from `allowed_hosts` are let in, too."""
        self._app = app
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        self._hosts = LOOPBACK_NAMES | self._allowed | {own_host}
        self._requests: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def watched(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        scope["app"] = self  # so that the router raises what it can't route, and does not answer by itself
        failure = await self._guarded(scope, receive, watched)
        if failure is not None and not has_started:
            await send_error(send, failure)

    async def close(self) -> None:
        """End the requests in flight, each with what is known of its call, and refuse all others."""
        self._is_closing = True
        for request in self._requests:
            request.cancel()
        if self._requests:
            await asyncio.wait(self._requests, timeout=_GRACE_S)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> AiosError | None:
        """What the request failed with, where somebody is to be told."""
        request = asyncio.current_task()
        assert request is not None
        self._requests.add(request)
        try:
            self._check(scope)
            await self._app(scope, receive, send)
        except ClientGone:
            return None
        except AiosError as error:
            return error
        except HTTPException as error:
            return _as_ours(error, scope)
        except asyncio.CancelledError:
            if not self._is_closing:
                raise
            return _cut_off(scope.get(CALL))
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            return Internal("the request failed; the kernel's log says more")
        finally:
            self._requests.discard(request)
        return None

    def _check(self, scope: Scope) -> None:
        if self._is_closing:
            raise Unavailable("the kernel is shutting down")
        host = _without_port(header_of(scope, b"host"))
        if host not in self._hosts:
            raise PermissionDenied(
                f"this server is not {host[:100]!r}; add the name to allowed_hosts if it is"
            )
        origin = header_of(scope, b"origin")
        if origin and _without_port(origin.partition("://")[2]) not in self._allowed:
            raise PermissionDenied(f"pages of {origin[:100]!r} may not make requests of this server")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


class _WrongMethod(InvalidArgument):
    http_status = 405


def _cut_off(call: str | None) -> AiosError:
    """What a request becomes that the end of serving cuts off; the kernel lets a write finish."""
    if call is not None and wire.may_have_effect(call):
        return OutcomeUnknown(f"the kernel is shutting down, {call} may have taken effect")
    return Cancelled("the kernel is shutting down")


def _as_ours(error: HTTPException, scope: Scope) -> AiosError:
    path = str(scope["path"])[:200]
    if error.status_code == 404:
        return NotFound(f"there is nothing at {path}")
    kind = _WrongMethod if error.status_code == 405 else InvalidArgument
    return kind(f"{scope['method']} {path}: {error.detail}")
