"""The OpenAPI description of the native interface, made from the table."""

from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from aios.abi.errors import ErrorReply
from aios.abi.messages import Delta
from aios.abi.syscalls import (
    TABLE,
    Approvals,
    Done,
    FileEntry,
    ProcessEntries,
    ProcessSpawn,
    Row,
    Spawned,
    StorageCommit,
    StorageDelete,
    StorageRead,
)
from aios.abi.wire import MAX_KEY

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Calls with the same key take effect once and are answered the same",
    "schema": {"type": "string", "maxLength": MAX_KEY, "pattern": r"^[!-~]+$"},
}
_RANGE = {
    "name": "Range",
    "in": "header",
    "description": "One range of bytes, such as bytes=0-99",
    "schema": {"type": "string"},
}
_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "Write only over this version; If-None-Match: * only a new file",
    "schema": {"type": "string", "pattern": r'^"\d+"$'},
}
_CONTENT = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_REF = "#/components/schemas/{name}"


@cache
def describe() -> dict[str, Any]:
    """The whole description; each system call is one alternative of the body of `POST /v1/syscalls`."""
    types = [part for row in TABLE.values() for part in (row.request, row.reply)]
    _, schemas = msgspec.json.schema_components([*types, ErrorReply, Delta], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "AIOS", "version": version("aios"), "description": "System calls of agents."},
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> dict[str, Any]:
    bodies = [_body_of(row) for row in TABLE.values()]
    replies = {row.reply.__name__: _ref(row.reply) for row in TABLE.values()}
    syscalls = _operation("Make a system call", {"anyOf": list(replies.values())}, {"oneOf": bodies})
    stream = {
        "schema": {"type": "string", "description": "Events `data: {delta}`, the last with reply or error"}
    }
    syscalls["responses"]["200"]["content"]["text/event-stream"] = stream
    verdict = _object({"decision": {"enum": ["approve", "deny"]}}, ["decision"])
    decide = _operation("Let a waiting operation run, or refuse it", _ref(Done), verdict)
    decide["parameters"].append(_in_path("approval_id"))
    return {
        "/v1/syscalls": {"post": syscalls},
        "/v1/processes": {
            "post": _operation("Spawn a process", _ref(Spawned), _ref(ProcessSpawn)),
            "get": _operation("List processes", _ref(ProcessEntries)),
        },
        "/v1/approvals": {"get": _operation("What waits for a person", _ref(Approvals))},
        "/v1/approvals/{approval_id}": {"post": decide},
        "/v1/files/{path}": _files(),
        "/v1/shared/{link}": {
            "get": {
                **_download("Read what a link stands for; needs no token"),
                "security": [],
                "parameters": [_in_path("link"), _RANGE],
            }
        },
    }


def _files() -> dict[str, Any]:
    """A file's content as it is, of any size."""
    put = _operation("Write a file", _ref(FileEntry))
    put["requestBody"] = {"required": True, "content": _CONTENT}
    put["parameters"] = [_KEY, _MATCH, *_queries(StorageCommit, "label", "source", "lock", "owner")]
    delete = _operation("Delete a file or folder", _ref(Done))
    delete["parameters"] = [_KEY, *_queries(StorageDelete, "deep", "lock", "owner")]
    get = _download("Read a file")
    get["parameters"] = [_RANGE, *_queries(StorageRead, "version", "owner")]
    return {"parameters": [_in_path("path")], "get": get, "put": put, "delete": delete}


def _download(summary: str) -> dict[str, Any]:
    operation = _operation(summary, {})
    operation["responses"]["200"] = {"description": "The bytes; ETag is the version", "content": _CONTENT}
    operation["responses"]["206"] = {"description": "The range asked for", "content": _CONTENT}
    return operation


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _queries(request: type, *names: str) -> list[dict[str, Any]]:
    """Fields of a call that its query may say."""
    _, schemas = msgspec.json.schema_components([request], ref_template=_REF)
    fields = schemas[request.__name__]["properties"]
    return [{"name": name, "in": "query", "schema": fields[name]} for name in names]


def _body_of(row: Row) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "call": {"const": row.name},
        "args": _ref(row.request),
        "timeout_s": {"type": "number", "exclusiveMinimum": 0},
    }
    if row.streams:
        properties["stream"] = {"type": "boolean", "default": False}
    body = _object(properties, ["call"])
    body["description"] = (row.request.__doc__ or "").partition("\n")[0]
    return body


def _operation(summary: str, reply: dict[str, Any], body: dict[str, Any] | None = None) -> dict[str, Any]:
    failed = _object({"error": _ref(ErrorReply)}, ["error"])
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "Done", "content": {"application/json": {"schema": reply}}},
            "default": {"description": "An error", "content": {"application/json": {"schema": failed}}},
        },
    }
    if body is not None:
        operation["parameters"] = [_KEY]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _ref(part: type) -> dict[str, Any]:
    return {"$ref": _REF.format(name=part.__name__)}
