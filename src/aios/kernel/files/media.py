"""What kind of file a name says it is: the same on every machine, whatever its own tables say."""

_MEDIA = {
    "text/plain": "txt text log conf cfg ini toml yaml yml env rst org adoc tex",
    "text/markdown": "md markdown",
    "text/html": "html htm xhtml",
    "text/css": "css",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "text/javascript": "js mjs",
    "text/x-python": "py pyi",
    "text/x-source": "c h cc cpp hpp rs go java kt rb php pl sh bash ts tsx jsx swift scala lua r sql",
    "application/json": "json jsonl ndjson",
    "application/xml": "xml xsl rss atom",
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/zip": "zip",
    "application/gzip": "gz tgz",
    "image/png": "png",
    "image/jpeg": "jpg jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "video/mp4": "mp4",
}
_BY_ENDING = {ending: media for media, endings in _MEDIA.items() for ending in endings.split()}
UNKNOWN = "application/octet-stream"


def ending_of(path: str) -> str:
    """What stands after the last dot of a file's name, in small letters; empty for none."""
    name = path.rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return ending.lower() if dot and stem else ""


def media_of(path: str) -> str:
    """The media type that a file's ending stands for."""
    return _BY_ENDING.get(ending_of(path), UNKNOWN)


def kinds_of(path: str) -> tuple[str, ...]:
    """All that a search for a kind of file may say to find this one: `md`, `text/markdown`, `text/*`."""
    media = media_of(path)
    named = (media, f"{media.partition('/')[0]}/*")
    ending = ending_of(path)
    return (ending, *named) if ending else named
