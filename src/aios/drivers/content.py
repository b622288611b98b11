"""The content of a message in the OpenAI form, taken apart for wires that have forms of their own."""

import mimetypes
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from aios.abi.errors import InvalidArgument
from aios.abi.messages import Message


class Text(Struct, frozen=True):
    """Some words."""

    text: str


class Blob(Struct, frozen=True):
    """An image, a sound or a document that came with the message."""

    media_type: str
    data: str
    """Its bytes in base64."""


class Link(Struct, frozen=True):
    """An image that lies elsewhere."""

    url: str

    @property
    def media_type(self) -> str | None:
        """As its name tells; None where it tells none."""
        return mimetypes.guess_type(self.url.partition("?")[0])[0]


Part = Text | Blob | Link


def parts_of(message: Message) -> Iterator[Part]:
    """The parts of a message, empty texts left out. `InvalidArgument` for a part that is none."""
    if isinstance(message.content, str):
        if message.content:
            yield Text(message.content)
        return
    for part in message.content:
        try:
            found = _part(part)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise InvalidArgument(f"a content part of type {part.get('type')!r} is malformed") from None
        if found != Text(""):
            yield found


def _part(part: dict[str, Any]) -> Part:
    match part.get("type"):
        case "text":
            return Text(str(part["text"]))
        case "image_url":
            image = part["image_url"]
            return _blob_or_link(image if isinstance(image, str) else image["url"])
        case "input_audio":
            return Blob(f"audio/{part['input_audio']['format']}", part["input_audio"]["data"])
        case "file":
            return _blob(part["file"]["file_data"])
        case other:
            raise InvalidArgument(f"this core takes no content part of type {other!r}")


def _blob_or_link(url: str) -> Part:
    return _blob(url) if url.startswith("data:") else Link(url)


def _blob(url: str) -> Blob:
    """Of a data URL in base64."""
    head, _, data = url.removeprefix("data:").partition(",")
    media_type, *flags = head.split(";")
    if not url.startswith("data:") or "base64" not in flags or not media_type or not data:
        raise ValueError(url[:40])
    return Blob(media_type, data)
