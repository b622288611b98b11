"""The kernel's own HTTP interface, `/v1`: system calls, and what a person or a monitor looks at."""

import hmac
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from aios.abi import syscalls as sc
from aios.abi import wire
from aios.abi.errors import InvalidArgument, PermissionDenied
from aios.server import metrics, openapi
from aios.server.asgi import CALL, admit, key_of, token_of
from aios.server.calls import SystemCalls
from aios.server.files import Files, Shared
from aios.server.trap import Trap


class _Verdict(msgspec.Struct, forbid_unknown_fields=True):
    """What a person says of a waiting operation."""

    decision: Literal["approve", "deny"]


def routes(kernel: Trap) -> list[BaseRoute]:
    """All of `/v1` that is native, and `/metrics`, `/healthz`, `/openapi.json`."""
    native = _Native(kernel)
    return [
        Route("/v1/syscalls", SystemCalls(kernel), methods=["POST"]),
        Route("/v1/processes", native.spawn, methods=["POST"]),
        Route("/v1/processes", native.processes, methods=["GET"]),
        Route("/v1/files/{path:path}", Files(kernel), methods=["GET", "PUT", "DELETE"]),
        Route("/v1/shared/{link}", Shared(kernel), methods=["GET"]),
        Route("/v1/approvals", native.approvals, methods=["GET"]),
        Route("/v1/approvals/{approval_id}", native.decide, methods=["POST"]),
        Route("/metrics", native.metrics, methods=["GET"]),
        Route("/healthz", native.healthz, methods=["GET"]),
        Route("/openapi.json", native.openapi, methods=["GET"]),
    ]


class _Native:
    """Each endpoint is one system call in other words."""

    def __init__(self, kernel: Trap) -> None:
        self._kernel = kernel

    async def spawn(self, request: Request) -> Response:
        _, body = await admit(self._kernel, request.scope, request.receive)
        return await self._call(request, wire.decode_call("process.spawn", body))

    async def processes(self, request: Request) -> Response:
        return await self._call(request, sc.ProcessList())

    async def approvals(self, request: Request) -> Response:
        return await self._call(request, sc.AccessPending())

    async def decide(self, request: Request) -> Response:
        _, body = await admit(self._kernel, request.scope, request.receive)
        approval_id = request.path_params["approval_id"]
        try:
            decision = msgspec.json.decode(body, type=_Verdict).decision
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArgument(f'send {{"decision": "approve"}} or "deny": {error}') from None
        name = f"access.{decision}"
        return await self._call(request, wire.decode_call(name, wire.encode({"approval_id": approval_id})))

    async def metrics(self, request: Request) -> Response:
        """In Prometheus's text form; the operator's only."""
        token = token_of(request.scope)
        if not hmac.compare_digest(token.encode(), self._kernel.operator_token.encode()):
            raise PermissionDenied("metrics are the operator's")
        return Response(metrics.render(self._kernel.statistics()), media_type="text/plain; version=0.0.4")

    async def healthz(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def openapi(self, request: Request) -> Response:
        return _json(openapi.describe())

    async def _call(self, request: Request, call: sc.SystemCall) -> Response:
        request.scope[CALL] = sc.ROW_OF[type(call)].name
        scope = request.scope
        return _json(await self._kernel.trap(token_of(scope), call, key=key_of(scope)))


def _json(value: Any) -> Response:
    return Response(wire.encode(value), media_type="application/json")
