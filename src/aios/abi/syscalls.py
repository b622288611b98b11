"""THE TABLE: every system call and its reply, one frozen struct each.

Stubs of the SDK, schemas, access rules and documentation are made from `TABLE`. A system call that is not
built is not here. Everything a caller may set has a bound, checked when bytes become a struct.
"""

from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

from aios.abi.messages import FinishReason, JsonSchema, Message, Sampling, ToolCall, ToolSpec, Usage

Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:@/\-]+$")]
"""A name of an agent, principal, tool or model."""
Path = Annotated[str, Meta(min_length=1, max_length=1024)]
"""A file's path inside its owner's tree, such as `notes/today.md`; storage checks it further."""
Text = Annotated[str, Meta(max_length=8 * 1024 * 1024)]
NoteText = Annotated[str, Meta(min_length=1, max_length=64 * 1024)]
Tag = Annotated[str, Meta(min_length=1, max_length=64)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=32)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400.0)]
Encoding = Literal["utf-8", "base64"]


class SystemCall(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What every request is."""


class Reply(Struct, frozen=True, omit_defaults=True):
    """What every answer is."""


class Done(Reply, frozen=True):
    """It took effect; there is nothing else to say."""


# ---- scheduling: what a caller says of its own work

Band = Literal["interactive", "normal", "batch"]
BANDS: tuple[Band, ...] = get_args(Band)
"""Strict classes: nothing of a later band runs while something of an earlier one could."""


class Hints(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What the scheduler may know of a call, or of all calls of a program.

    A call can ask for less than its program was given, never for more: its band and priority are bounded by
    the program's.
    """

    band: Band | None = None
    """None for the program's own, which is `normal` unless it was spawned with another."""
    priority: Annotated[int, Meta(ge=-100, le=100)] | None = None
    """Higher first, under the policy `priority`; None for the program's own, which is 0."""
    deadline_s: Annotated[float, Meta(gt=0, le=604_800.0)] | None = None
    """Seconds from now by which it should be done: an aim of `edf` and `llf`, not a limit."""
    steps_left: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Calls the program will still make one after the other, this one included."""
    work_left: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    """Service the program still needs, this call included, in tokens (an answer's token counts twice)."""


NO_HINTS = Hints()


class Budget(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The most that may be spent; None for no limit."""

    tokens: Annotated[int, Meta(ge=0)] | None = None
    """Of prompts and answers together."""
    money: Annotated[float, Meta(ge=0)] | None = None
    """In the currency of the cores' prices."""
    calls: Annotated[int, Meta(ge=0)] | None = None
    """Generations."""
    wall_s: Annotated[float, Meta(gt=0, le=31_536_000.0)] | None = None
    """Seconds from the first call on (of one call: from its creation)."""


NO_BUDGET = Budget()


# ---- llm


class LlmGenerate(SystemCall, frozen=True):
    """Ask a model for the next message of a conversation."""

    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=10_000)]
    tools: Annotated[tuple[ToolSpec, ...], Meta(max_length=256)] = ()
    model: Name | None = None
    """A model's name; None lets the kernel choose a core."""
    sampling: Sampling = Sampling()
    tool_choice: Name = "auto"
    """`auto`, `none`, `required`, or the name of one tool."""
    response_schema: JsonSchema | None = None
    hints: Hints = NO_HINTS
    budget: Budget = NO_BUDGET
    """Of this call alone."""


class LlmAnswer(Reply, frozen=True):
    """A model's answer and what it took. Seconds are of the kernel's clock."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    model: str = ""
    core: str = ""
    waiting_s: float = 0.0
    """From the call's creation to its first run."""
    turnaround_s: float = 0.0
    """From the call's creation to its end."""
    num_switches: int = 0
    """How often it was interrupted and resumed."""

    def to_message(self) -> Message:
        """The answer as the assistant's message of a conversation."""
        return Message("assistant", self.text, self.tool_calls)


# ---- core: the models and how calls are shared out among them


class CoreList(SystemCall, frozen=True):
    """Every core as it stands. Operator only."""


class CoreExplain(SystemCall, frozen=True):
    """Why the generations of a process wait, and why they ran when they did."""

    pid: Annotated[int, Meta(ge=1)] | None = None
    """None for the caller itself."""


Health = Literal["ready", "overloaded", "failing", "open", "probing", "exhausted"]
"""A core answers; has no room for even one call; failed its last call; is left alone for a while after some
failures, and tried again with one; or has no quota left at its provider."""


class RateEntry(Struct, frozen=True):
    """A rate limit as a core's gate keeps it."""

    unit: str
    """`requests`, `tokens`, `input_tokens` or `output_tokens`."""
    per_minute: float
    left: float


class CoreEntry(Struct, frozen=True):
    """A core. Tokens and money are since the kernel's start."""

    name: str
    model: str
    kind: str
    health: Health
    slots: int
    """0 where nobody knows: then `window` is what was found out."""
    window: int
    """How many calls its gate lets in at the same time now."""
    running: int
    waiting: int
    tokens_in_flight: int
    """Prompt and answer tokens that what runs may take."""
    opens_in_s: float | None = None
    """Seconds until its gate may open by time alone; None while it is open, or waits for a call to end."""
    rates: tuple[RateEntry, ...] = ()
    tokens: int = 0
    tokens_per_s: float = 0.0
    failures: int = 0
    spent: float = 0.0


class CoreEntries(Reply, frozen=True):
    cores: tuple[CoreEntry, ...]


class CallExplained(Struct, frozen=True):
    """One generation in flight."""

    task: int
    state: Literal["waits", "runs", "is held", "asks"]
    seconds: float
    """In this state."""
    reason: str
    ahead: int = 0
    """Programs (or calls, where the policy orders calls) that would be served before it."""
    key: tuple[float, ...] = ()
    """What the policy orders it by, the smallest first."""


class DecisionExplained(Struct, frozen=True):
    """A slot that one of its generations got."""

    task: int
    core: str
    seconds_ago: float
    reason: str


class Explanation(Reply, frozen=True):
    """A process among the others. Service is in tokens, an answer's counted twice."""

    pid: int
    program: int
    tenant: str
    policy: str
    band: Band
    service: float = 0.0
    waited_s: float = 0.0
    ran_s: float = 0.0
    calls: tuple[CallExplained, ...] = ()
    decisions: tuple[DecisionExplained, ...] = ()


# ---- memory: the history of a process


class MemoryAppend(SystemCall, frozen=True):
    """Add messages to the end of the caller's history."""

    messages: Annotated[tuple[Message, ...], Meta(min_length=1, max_length=1000)]


class MemoryRead(SystemCall, frozen=True):
    """Read the caller's history from message `start` on."""

    start: Annotated[int, Meta(ge=0)] = 0
    limit: Limit = 1000


class MemoryClear(SystemCall, frozen=True):
    """Forget the caller's history (its notes stay)."""


class History(Reply, frozen=True):
    """Messages of a history; `num_messages` counts the whole of it."""

    num_messages: int
    messages: tuple[Message, ...] = ()


# ---- memory: notes


class MemoryAdd(SystemCall, frozen=True):
    """Keep a note. It is on disk when the reply comes."""

    text: NoteText
    tags: Tags = ()


class MemoryGet(SystemCall, frozen=True):
    """Read one note."""

    note_id: Name
    owner: Name | None = None
    """Whose note; None for the caller's own."""


class MemoryUpdate(SystemCall, frozen=True):
    """Replace a note's text, and its tags where given."""

    note_id: Name
    text: NoteText
    tags: Tags | None = None
    owner: Name | None = None


class MemoryRemove(SystemCall, frozen=True):
    """Remove a note."""

    note_id: Name
    owner: Name | None = None


class MemorySearch(SystemCall, frozen=True):
    """Find notes by meaning and by keyword, best first. An empty text lists the newest."""

    text: Annotated[str, Meta(max_length=4096)] = ""
    limit: Limit = 10
    tags: Tags = ()
    """Only notes that carry all of these."""
    owner: Name | None = None


class Note(Reply, frozen=True):
    """A note. `created` and `updated` are seconds since the epoch; ids are short and unique to the owner."""

    id: str
    text: str
    tags: tuple[str, ...]
    owner: str
    created: float
    updated: float


class NoteHit(Struct, frozen=True):
    """A note found, with its score: higher is better, comparable within one search only."""

    note: Note
    score: float


class NoteHits(Reply, frozen=True):
    hits: tuple[NoteHit, ...]


# ---- storage


class StorageCreate(SystemCall, frozen=True):
    """Make a new file. `Conflict` where one exists."""

    path: Path
    content: Text = ""
    encoding: Encoding = "utf-8"
    owner: Name | None = None
    """In whose tree; None for the caller's own."""


class StorageWrite(SystemCall, frozen=True):
    """Set a file's whole content, making the file where there is none. Each write is a new version."""

    path: Path
    content: Text
    encoding: Encoding = "utf-8"
    owner: Name | None = None


class StorageAppend(SystemCall, frozen=True):
    """Add to a file's end, making the file where there is none. A new version."""

    path: Path
    content: Text
    encoding: Encoding = "utf-8"
    owner: Name | None = None


class StorageRead(SystemCall, frozen=True):
    """Read a file, now or as it was in `version`."""

    path: Path
    version: Annotated[int, Meta(ge=1)] | None = None
    owner: Name | None = None


class StorageList(SystemCall, frozen=True):
    """List the files in a folder and below it; an empty folder name means all."""

    folder: Annotated[str, Meta(max_length=1024)] = ""
    limit: Limit = 1000
    owner: Name | None = None


class StorageStat(SystemCall, frozen=True):
    """A file's size, version and times, without its content."""

    path: Path
    owner: Name | None = None


class StorageDelete(SystemCall, frozen=True):
    """Delete a file. Its history stays, so that it can be rolled back. Another's file waits for a person."""

    path: Path
    owner: Name | None = None


class StorageHistory(SystemCall, frozen=True):
    """The versions of a file, oldest first."""

    path: Path
    limit: Limit = 1000
    owner: Name | None = None


class StorageRollback(SystemCall, frozen=True):
    """Make the content of an earlier version the newest one. Nothing is lost: it is a new version."""

    path: Path
    version: Annotated[int, Meta(ge=1)]
    owner: Name | None = None


class StorageSearch(SystemCall, frozen=True):
    """Find files by words in their content or path, best first."""

    text: Annotated[str, Meta(min_length=1, max_length=4096)]
    limit: Limit = 10
    owner: Name | None = None


class FileEntry(Reply, frozen=True):
    """A file without its content. Times are seconds since the epoch, `size` is in bytes."""

    path: str
    owner: str
    version: int
    size: int
    created: float
    modified: float
    deleted: bool = False


class FileContent(Reply, frozen=True):
    """A file's content in one version; bytes that are not UTF-8 come as base64."""

    path: str
    version: int
    content: str
    encoding: Encoding = "utf-8"


class FileEntries(Reply, frozen=True):
    files: tuple[FileEntry, ...]


class FileVersion(Struct, frozen=True):
    """One version: `author` is the principal that wrote it, `verb` how."""

    version: int
    size: int
    modified: float
    author: str
    verb: Literal["create", "write", "append", "delete", "rollback"]


class FileVersions(Reply, frozen=True):
    versions: tuple[FileVersion, ...]


class FileHit(Struct, frozen=True):
    file: FileEntry
    snippet: str
    score: float


class FileHits(Reply, frozen=True):
    hits: tuple[FileHit, ...]


# ---- tool


class ToolList(SystemCall, frozen=True):
    """The tools the caller may use."""


class ToolRun(SystemCall, frozen=True):
    """Run a tool. `ToolFailed` says what the tool said when it fails."""

    name: Name
    arguments: dict[str, Any] = {}


class ToolRegister(SystemCall, frozen=True):
    """Offer a Python function as a tool. It runs in a process of its own, never in the kernel's.

    `source` is `package.module:function` or `/path/file.py:function`; name, description and the schema of
    the arguments are read from the function's signature and docstring.
    """

    source: Annotated[str, Meta(min_length=3, max_length=1024)]
    name: Name | None = None
    timeout_s: Seconds = 30.0
    max_parallel: Annotated[int, Meta(ge=1, le=64)] = 1
    conflicts: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    """Names of tools that must not run at the same time as this one."""


class ToolUnregister(SystemCall, frozen=True):
    """Take back a tool that the caller registered."""

    name: Name


class ToolEntry(Struct, frozen=True):
    """A tool in the kernel's list; `owner` is `kernel` for the built-in ones."""

    spec: ToolSpec
    owner: str
    timeout_s: float
    max_parallel: int


class ToolEntries(Reply, frozen=True):
    tools: tuple[ToolEntry, ...]


class ToolOutput(Reply, frozen=True):
    """What a tool returned, as text; `truncated` where it was longer than the kernel's limit."""

    text: str
    truncated: bool = False


# ---- access

Resource = Literal["memory", "storage"]
GrantVerb = Literal["read", "write", "delete"]


class AccessCheck(SystemCall, frozen=True):
    """May the caller do this? Has no effect."""

    resource: Resource
    verb: GrantVerb
    owner: Name
    path: Annotated[str, Meta(max_length=1024)] = ""


class AccessGrant(SystemCall, frozen=True):
    """Let another principal reach the caller's own things under `prefix`, until it expires or is revoked."""

    to: Name
    resource: Resource
    verbs: Annotated[tuple[GrantVerb, ...], Meta(min_length=1, max_length=3)]
    prefix: Annotated[str, Meta(max_length=1024)] = ""
    expires_s: Annotated[float, Meta(gt=0, le=31_536_000.0)] | None = None


class AccessRevoke(SystemCall, frozen=True):
    """Take a grant back. It no longer counts from the next call on, calls already queued included."""

    grant_id: Name


class AccessPending(SystemCall, frozen=True):
    """The operations that wait for a person. Operator only."""


class AccessApprove(SystemCall, frozen=True):
    """Let a waiting operation run, once. Operator only."""

    approval_id: Name


class AccessDeny(SystemCall, frozen=True):
    """Refuse a waiting operation. Operator only."""

    approval_id: Name


class Decision(Reply, frozen=True):
    """`allow`, `deny`, or `ask`: allowed once a person agrees."""

    decision: Literal["allow", "deny", "ask"]
    reason: str = ""


class Grant(Reply, frozen=True):
    id: str
    owner: str
    to: str
    resource: Resource
    verbs: tuple[GrantVerb, ...]
    prefix: str
    expires: float | None
    """Seconds since the epoch; None for never."""


class Approval(Struct, frozen=True):
    """An operation that waits for a person: who wants what, in the kernel's words."""

    id: str
    pid: int
    principal: str
    call: str
    text: str
    created: float
    expires: float


class Approvals(Reply, frozen=True):
    approvals: tuple[Approval, ...]


# ---- process

ProcessState = Literal["running", "suspended", "exited", "killed"]
Pid = Annotated[int, Meta(ge=1)]


class ProcessSpawn(SystemCall, frozen=True):
    """Make a process with an identity of its own. The caller becomes its parent.

    `principal` names whose things it owns; only the operator may choose one, others get a fresh one.
    """

    agent: Name
    principal: Name | None = None
    lease_s: Seconds | None = None
    """Ends the process when it has made no call for so long; None for never."""
    durable: bool = False
    """The process and its token outlive a restart of the kernel. Operator only."""
    tenant: Name | None = None
    """On whose account it runs; None for the parent's. Operator only."""
    hints: Hints = NO_HINTS
    """For all its calls and those of its children: bounded by the parent's own."""
    budget: Budget | None = None
    """Of it and its children together, out of the parent's; None for the parent's alone."""


class ProcessList(SystemCall, frozen=True):
    """The processes the caller may see: itself and its children; the operator sees all."""


class ProcessUsage(SystemCall, frozen=True):
    """What a process has used."""

    pid: Pid | None = None
    """None for the caller itself."""


class ProcessSuspend(SystemCall, frozen=True):
    """Stop scheduling a process: its waiting calls wait, its running generation is interrupted."""

    pid: Pid


class ProcessResume(SystemCall, frozen=True):
    """Schedule a suspended process again."""

    pid: Pid


class ProcessKill(SystemCall, frozen=True):
    """End a process and its children; their calls end as cancelled."""

    pid: Pid


class ProcessExit(SystemCall, frozen=True):
    """End the caller, leaving a result for those that wait for it."""

    result: Text = ""


class ProcessWait(SystemCall, frozen=True):
    """Wait for a process to end."""

    pid: Pid


class ProcessSend(SystemCall, frozen=True):
    """Put a message into another process's mailbox."""

    pid: Pid
    text: Annotated[str, Meta(max_length=1024 * 1024)]


class ProcessReceive(SystemCall, frozen=True):
    """Take the oldest message from the caller's mailbox, waiting for one where it is empty."""


class Spawned(Reply, frozen=True):
    """A new process; `token` is its secret and is shown this once."""

    pid: int
    principal: str
    token: str


class ProcessEntry(Struct, frozen=True):
    """A process; `waiting` names the call it waits for or runs, if any."""

    pid: int
    parent: int
    agent: str
    principal: str
    state: ProcessState
    created: float
    num_calls: int
    num_running: int
    waiting: str = ""


class ProcessEntries(Reply, frozen=True):
    processes: tuple[ProcessEntry, ...]


class ResourceUsage(Reply, frozen=True):
    """Totals since the process began. Seconds are of the kernel's clock."""

    pid: int
    calls: dict[str, int]
    """Settled calls by group."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    num_switches: int = 0
    waiting_s: float = 0.0
    running_s: float = 0.0


class ExitStatus(Reply, frozen=True):
    pid: int
    state: ProcessState
    result: str = ""


class Mail(Reply, frozen=True):
    sender: int
    text: str
    sent: float


# ---- the table


class Row(Struct, frozen=True):
    """One line of the table."""

    name: str
    request: type[SystemCall]
    reply: type[Reply]
    streams: bool = False
    """Whether deltas may come before the reply."""

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]


TABLE: dict[str, Row] = {
    row.name: row
    for row in (
        Row("llm.generate", LlmGenerate, LlmAnswer, streams=True),
        Row("core.list", CoreList, CoreEntries),
        Row("core.explain", CoreExplain, Explanation),
        Row("memory.append", MemoryAppend, History),
        Row("memory.read", MemoryRead, History),
        Row("memory.clear", MemoryClear, Done),
        Row("memory.add", MemoryAdd, Note),
        Row("memory.get", MemoryGet, Note),
        Row("memory.update", MemoryUpdate, Note),
        Row("memory.remove", MemoryRemove, Done),
        Row("memory.search", MemorySearch, NoteHits),
        Row("storage.create", StorageCreate, FileEntry),
        Row("storage.write", StorageWrite, FileEntry),
        Row("storage.append", StorageAppend, FileEntry),
        Row("storage.read", StorageRead, FileContent),
        Row("storage.list", StorageList, FileEntries),
        Row("storage.stat", StorageStat, FileEntry),
        Row("storage.delete", StorageDelete, Done),
        Row("storage.history", StorageHistory, FileVersions),
        Row("storage.rollback", StorageRollback, FileEntry),
        Row("storage.search", StorageSearch, FileHits),
        Row("tool.list", ToolList, ToolEntries),
        Row("tool.call", ToolRun, ToolOutput),
        Row("tool.register", ToolRegister, ToolEntries),
        Row("tool.unregister", ToolUnregister, Done),
        Row("access.check", AccessCheck, Decision),
        Row("access.grant", AccessGrant, Grant),
        Row("access.revoke", AccessRevoke, Done),
        Row("access.pending", AccessPending, Approvals),
        Row("access.approve", AccessApprove, Done),
        Row("access.deny", AccessDeny, Done),
        Row("process.spawn", ProcessSpawn, Spawned),
        Row("process.list", ProcessList, ProcessEntries),
        Row("process.usage", ProcessUsage, ResourceUsage),
        Row("process.suspend", ProcessSuspend, Done),
        Row("process.resume", ProcessResume, Done),
        Row("process.kill", ProcessKill, Done),
        Row("process.exit", ProcessExit, Done),
        Row("process.wait", ProcessWait, ExitStatus),
        Row("process.send", ProcessSend, Done),
        Row("process.receive", ProcessReceive, Mail),
    )
}

ROW_OF: dict[type[SystemCall], Row] = {row.request: row for row in TABLE.values()}
"""The row of a request's type."""
