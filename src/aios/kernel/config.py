"""Every limit and default of the kernel, on one page. Checked when it is loaded, frozen after.

A value comes from `aios.toml`, then from the environment: `AIOS_PORT=9000`, `AIOS_SCHEDULER__QUANTUM=64`,
lists and tables as JSON. A key nobody knows is an error that names the nearest one.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta, Struct

from aios.abi.errors import InvalidArgument
from aios.abi.syscalls import Budget, Fit, Label

Count = Annotated[int, Meta(ge=1)]
Bytes = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
CoreName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.\-]+$")]

MIB = 1024 * 1024


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of `aios.toml`."""


class CoreConfig(Section, frozen=True):
    """One LLM core: a replica of a model. Several cores may serve the same model."""

    name: CoreName = "nano"
    kind: Literal["embedded", "huggingface", "openai", "anthropic", "gemini"] = "embedded"
    """The embedded model, one in the files of Hugging Face's transformers, or an endpoint's wire."""
    preset: str = ""
    """A provider or server whose defaults are known (`aios cores --presets`); what is set here wins."""
    model: str = ""
    """Its name, as agents ask for it and the endpoint knows it; empty for the embedded one's own."""
    path: str = ""
    """Of `huggingface`: the model's folder, or its name on the hub, such as `Qwen/Qwen3-0.6B`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Of `huggingface`: what computes it; `auto` is a GPU where torch sees one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of `huggingface`: the format of its numbers; `auto` is float32 on processors, bfloat16 on a GPU."""
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    """Of `huggingface` on processors; 0 for one on each."""
    base_url: str = ""
    """Of a remote endpoint, such as `http://127.0.0.1:11434/v1`; empty for the preset's own."""
    api_key_env: str = ""
    """The environment variable that holds the endpoint's key; the key itself is never in a file."""
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    """Other names for fields of the endpoint's request, such as `max_tokens = "max_completion_tokens"`; an
    empty name leaves a field out that the endpoint refuses, such as `temperature = ""`."""
    continuation: Literal["exact", "prefill", "none"] | None = None
    """How a remote endpoint goes on with a partial answer, so that generations can be interrupted there: by
    `continue_final_message` as vLLM and SGLang do, by a last message of the assistant, not at all; None for
    what its preset says, `none` without one. docs/context.md says more."""
    generates: bool = True
    """Whether it takes generations,"""
    embeds: bool = False
    """and whether it turns texts into vectors (`llm.embed`): models for that mostly do nothing else."""
    slots: Annotated[int, Meta(ge=0, le=4096)] = 64
    """Generations that run at the same time; 0 for an endpoint that does not say: then it is found out."""
    tokens_in_flight: Annotated[int, Meta(ge=0)] = 0
    """Prompt and answer tokens of all generations running at the same time; 0 for no such limit."""
    kv_tokens: Annotated[int, Meta(ge=0)] = 0
    """Of a model that runs here: tokens whose keys and values are in memory for generations that run, beyond
    which these wait again; 0 for as many as its slots can hold."""
    requests_per_minute: Annotated[int, Meta(ge=0)] = 0
    """0 for what the endpoint's headers say, if they do."""
    tokens_per_minute: Annotated[int, Meta(ge=0)] = 0
    price_in: Annotated[float, Meta(ge=0)] = 0.0
    """Money for a million prompt tokens, in whatever currency budgets are given in."""
    price_cached: Annotated[float, Meta(ge=0)] | None = None
    """The same of prompt tokens that the endpoint had cached; None for `price_in`."""
    price_out: Annotated[float, Meta(ge=0)] = 0.0
    """Money for a million answer tokens."""
    fallback: tuple[CoreName, ...] = ()
    """Cores, of other models too, that take its calls while no core of its model can, the first that can."""
    window: Annotated[int, Meta(ge=0)] = 0
    """Tokens of prompt and answer together; 0 for what the driver says."""
    timeout_s: Seconds = 120.0
    """The longest silence of a remote endpoint."""


PolicyName = Literal[
    "fifo",
    "program_fifo",
    "rr",
    "priority",
    "mlfq",
    "plas",
    "atlas",
    "srpt",
    "gittins",
    "critical_path",
    "fair",
    "virtual_finish",
    "edf",
    "llf",
    "oracle",
]


class SchedulerConfig(Section, frozen=True):
    """Who is next: first bands, then tenants by shares, then programs by the policy, then calls in order.

    `docs/scheduling.md` says what each policy is for.
    """

    policy: PolicyName = "plas"
    share: Literal["fair", "none"] | None = None
    """Whether tenants are served by fair share before the policy orders one's programs; None for what the
    policy is meant for: `none` under `fifo`, `program_fifo` and `rr`, else `fair`."""
    quantum: Count = 32
    """Tokens a generation may take before it may be interrupted for another that goes before it."""
    max_waiting: Count = 20_000
    """Calls in one run queue; more are refused, those of the lowest band first."""
    aging_s: Seconds = 10.0
    """Seconds of waiting that are worth one step of priority (`priority`)."""
    level_tokens: Annotated[float, Meta(gt=0)] = 2000.0
    """Service of the first level of `plas`, `mlfq` and `atlas`, in tokens, those of answers counted twice."""
    level_ratio: Annotated[float, Meta(gt=1)] = 2.0
    """Each level's over the one before."""
    patience: Annotated[float, Meta(gt=0)] = 10.0
    """A program that has waited so many times as long as it ran goes to the first level."""


class RetryConfig(Section, frozen=True):
    """How often a generation is tried again that a core fails. One that a core has no room for just waits."""

    max_attempts: Count = 8
    """Tries of a generation whose core fails."""
    give_up_s: Seconds = 300.0
    """After which the calls for cores that have only refused and failed are answered with the failure."""


class TenantConfig(Section, frozen=True):
    """Someone on whose account programs run: `[tenants.NAME]`."""

    weight: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    """Its share of the cores against other tenants."""
    budget: Budget = Budget()


class ContextConfig(Section, frozen=True):
    max_snapshot_bytes: Bytes = 1024 * MIB
    """What snapshots of interrupted generations may take in memory, of each core that runs here,"""
    max_disk_bytes: Bytes = 4096 * MIB
    """and what they may take on disk; beyond both no more are interrupted. 0 for nothing on disk."""
    fit: Fit = "refuse"
    """What becomes of a conversation that does not fit into a window, where a call does not say."""
    max_points: Count = 1000
    """Conversations that one principal keeps to go on from (`context.snapshot`),"""
    max_point_bytes: Bytes = 8 * MIB
    """and what each may have."""
    max_answer_tokens: Count = 4096
    """Of an answer without a limit of its own, where nobody knows the window or what the prompt takes."""


class ProcessConfig(Section, frozen=True):
    max_processes: Count = 20_000
    """Processes alive at the same time."""
    max_ended: Count = 10_000
    """Processes that have ended and can still be waited for; the oldest are forgotten."""
    max_calls: Count = 10_000
    """System calls of one process in flight."""
    max_mail: Count = 1_000
    """Messages in one mailbox."""
    max_mail_bytes: Bytes = 8 * MIB
    """Text in one mailbox."""


class AccessConfig(Section, frozen=True):
    approval_s: Seconds = 60.0
    """How long an operation waits for a person before it is denied."""
    max_pending: Count = 1_000
    """Operations that wait for a person."""
    max_grants: Count = 1_000
    """Grants of one owner."""
    max_groups: Count = 1_000
    """Groups of principals."""
    tool_register: Literal["operator", "ask", "allow"] = "ask"
    """Who may give the kernel code to run as a tool: the operator, others once a person agrees, or all."""
    overwrite: Literal["ask", "allow"] = "ask"
    """Whether a person is asked before one agent overwrites another's file, where a grant lets it write."""
    share: Literal["operator", "ask", "allow"] = "ask"
    """Who may make links by which anybody reads a file: the operator, others once a person agrees, or all."""
    mount: Literal["operator", "ask", "allow"] = "ask"
    """Who may mount the directories that are lent: the operator, others once a person agrees, or all."""


class StoreConfig(Section, frozen=True):
    reserve_bytes: Bytes = 32 * MIB
    """Of the disk, kept back so that things can be deleted when it is full."""
    max_keys: Count = 1024
    """Calls with an idempotency key of one owner whose replies are kept: the newest, at least so many."""
    key_s: Seconds = 86_400.0
    """For how long they are kept."""


class MemoryConfig(Section, frozen=True):
    max_parallel: Count = 256
    """Memory calls that run at the same time."""
    max_notes: Count = 100_000
    """Notes of one owner."""
    max_histories: Count = 10_000
    """Histories of one owner."""
    max_history_messages: Count = 100_000
    """Messages of one history."""
    max_history_bytes: Bytes = 256 * MIB
    """Of one owner's histories together, each counted whole, whatever it has in common with others."""
    history_block_bytes: Bytes = 16 * MIB
    """What one owner's histories may take in memory. Beyond four fifths of it the coldest parts leave; they
    come back from disk when they are read. What is pinned may be half of it."""
    history_memory_bytes: Bytes = 256 * MIB
    """The same of all owners together."""
    max_note_bytes: Bytes = 256 * MIB
    """Of one owner's notes, with what they were before."""
    max_note_versions: Count = 32
    """Of one note, the one that it is included; older ones are dropped."""
    embedding: Annotated[str, Meta(pattern=r"^(ngrams|model:.+|core:.+)$")] = "ngrams"
    """By what searches tell what is alike in meaning: `ngrams` by letters alone; `model:FOLDER` also by a
    sentence embedding model there (extra `embed`), `core:NAME` by a core that embeds. docs/notes.md."""
    max_index_bytes: Bytes = 256 * MIB
    """Of what searches for notes keep in memory; what was searched longest ago is read again when needed."""


class StorageConfig(Section, frozen=True):
    max_parallel: Count = 256
    """Storage calls that run at the same time."""
    max_file_bytes: Annotated[int, Meta(ge=0, le=64 * 1024 * MIB)] = 1024 * MIB
    max_files: Count = 200_000
    """Files and made folders of one owner."""
    max_owner_bytes: Bytes = 8 * 1024 * MIB
    """All versions of one owner's files together, and 256 bytes for each."""
    max_tree_files: Count = 10_000
    """Files of a folder that one call may delete, move or roll back: all others wait for it."""
    max_locks: Count = 1_000
    """On the things of one owner, at the same time."""
    max_shares: Count = 1_000
    """Links to the files of one owner."""
    max_uploads: Count = 64
    """Uploads under way into the files of one owner."""
    max_mounts: Count = 64
    """Mounted directories in the files of one owner."""
    rescan_s: Seconds = 60.0
    """A mounted directory is looked through so often, besides being watched; a large one less often, so that
    it takes a twentieth of the time."""
    max_document_bytes: Annotated[int, Meta(ge=0, le=256 * MIB)] = 32 * MIB
    """Of an HTML, PDF or Office file whose text is taken out of it for searches,"""
    max_document_letters: Annotated[int, Meta(ge=1, le=16 * MIB)] = 512 * 1024
    """of that text; the rest is left,"""
    document_s: Seconds = 30.0
    """for how long the process that reads it may take,"""
    document_memory_bytes: Annotated[int, Meta(ge=64 * MIB)] = 1024 * MIB
    """and what it may take in memory."""


class MountConfig(Section, frozen=True):
    """A directory of this machine that agents may mount: `[[mounts]]`. Only its name is told to them."""

    name: CoreName
    path: Path
    write: bool = False
    """Whether it may be mounted for writing."""
    hidden: bool = False
    """Whether names that begin with a dot are part of it."""
    label: Label = "untrusted"
    """Of its files, as whoever writes there may write anything."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "path", self.path.expanduser().absolute())


class ToolConfig(Section, frozen=True):
    max_parallel: Count = 64
    """Tool calls that run at the same time, of all tools together."""
    max_registered: Count = 256
    """Tools registered by one owner."""
    start_timeout_s: Seconds = 10.0
    """For a tool's module to be imported."""
    idle_s: Seconds = 60.0
    """After which a tool's idle process ends."""
    max_output_bytes: Bytes = MIB
    """Of one result; the rest is cut."""
    max_printed_bytes: Bytes = MIB
    """That a registered tool may print in one call before it is ended."""
    network: bool = False
    """Whether registered tools may reach the network."""
    readable: tuple[Path, ...] = ()
    """Files and folders that registered tools may read besides Python and their own module's folder."""
    max_memory_bytes: Bytes = 1024 * MIB
    """Of one tool process."""
    max_cpu_s: Count = 300
    """Processor time of one call of a registered tool."""


class JournalConfig(Section, frozen=True):
    max_events: Count = 10_000
    """Events kept in memory."""
    max_samples: Count = 50_000
    """Generations whose times the statistics are made from: the newest."""
    file: str = ""
    """Also written as JSON lines to this file in the data folder; empty for none."""
    max_file_bytes: Bytes = 64 * MIB
    """At which the file is rotated; one older file is kept."""


class Config(Section, frozen=True):
    """The whole of it."""

    data: Path = Path("~/.aios")
    """The folder of everything the kernel keeps."""
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    socket: Path | None = None
    """The local socket; None for `aios.sock` in the data folder."""
    allow_remote: bool = False
    """Lets `host` be an address that other machines reach."""
    allowed_hosts: tuple[str, ...] = ()
    """Names besides the loopback's that a request's Host header may carry."""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    """Of the seeds drawn for generations that name none; None draws them at random."""
    cores: Annotated[tuple[CoreConfig, ...], Meta(min_length=1, max_length=256)] = (CoreConfig(),)
    scheduler: SchedulerConfig = SchedulerConfig()
    retry: RetryConfig = RetryConfig()
    tenants: dict[str, TenantConfig] = msgspec.field(default_factory=dict)
    context: ContextConfig = ContextConfig()
    processes: ProcessConfig = ProcessConfig()
    access: AccessConfig = AccessConfig()
    store: StoreConfig = StoreConfig()
    memory: MemoryConfig = MemoryConfig()
    storage: StorageConfig = StorageConfig()
    mounts: Annotated[tuple[MountConfig, ...], Meta(max_length=256)] = ()
    tools: ToolConfig = ToolConfig()
    journal: JournalConfig = JournalConfig()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "data", self.data.expanduser().absolute())
        names = [core.name for core in self.cores]
        if len(set(names)) < len(names):
            raise ValueError(f"two cores have the same name: {', '.join(sorted(names))}")
        if taken := _RESOURCES & set(names):
            raise ValueError(f"a core cannot be called {min(taken)!r}: that is a resource of the kernel's")
        _check_journal(self.data, self.journal.file)
        lent = [mount.name for mount in self.mounts]
        if len(set(lent)) < len(lent):
            raise ValueError(f"two mounts have the same name: {', '.join(sorted(lent))}")
        for core in self.cores:
            if core.kind == "openai" and not core.preset and not (core.base_url and core.model):
                raise ValueError(f"core {core.name!r} of kind 'openai' needs a base_url and a model")
            if core.kind == "huggingface" and not core.path:
                raise ValueError(f"core {core.name!r} of kind 'huggingface' needs a path")
            if not (core.generates or core.embeds):
                raise ValueError(f"core {core.name!r} neither generates nor embeds")
            if unknown := set(core.fallback) - set(names):
                raise ValueError(f"core {core.name!r} falls back on {min(unknown)!r}, which is no core")
        kind, _, name = self.memory.embedding.partition(":")
        if kind == "core" and not any(core.name == name and core.embeds for core in self.cores):
            raise ValueError(f"memory.embedding names {name!r}, which is no core with embeds = true")

    @property
    def socket_path(self) -> Path:
        return self.socket or self.data / "aios.sock"

    @classmethod
    def load(cls, path: Path | None = None, environ: Mapping[str, str] = os.environ) -> "Config":
        """Read `path` (None for `aios.toml` in this folder, where there is one) and the environment.

        Raises `InvalidArgument` naming the key that is wrong.
        """
        values = _read(path)
        _merge_environment(values, environ)
        return _check(values)


_RESOURCES = {"memory", "storage", "tool"}
"""What the scheduler has slots for besides cores, by the same names."""


def _check_journal(data: Path, file: str) -> None:
    if not file:
        return
    path = Path(os.path.normpath(data / file))
    if data not in path.parents:
        raise ValueError(f"journal.file {file!r} is not in the data folder")
    if path.name.startswith("aios.db") or path.name == "operator.token":
        raise ValueError(f"journal.file {file!r} is a file of the kernel's own")


def _read(path: Path | None) -> dict[str, Any]:
    file = path or Path("aios.toml")
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        if path is None:
            return {}
        raise InvalidArgument(f"there is no configuration file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgument(f"{file} cannot be read: {error}") from None


_NOT_KEYS = {"AIOS_TOKEN", "AIOS_URL", "AIOS_CONFIG"}
"""Variables that say where a client finds its kernel; the kernel itself does not read them."""


def _merge_environment(values: dict[str, Any], environ: Mapping[str, str]) -> None:
    for name, text in sorted(environ.items()):
        if not name.startswith("AIOS_") or name in _NOT_KEYS:
            continue
        *sections, key = name.removeprefix("AIOS_").lower().split("__")
        table = values
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise InvalidArgument(f"{name}: {section!r} is not a section")
        table[key] = _json_or_text(text)


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _check(values: dict[str, Any]) -> Config:
    _refuse_unknown(values, Config, "")
    try:
        return msgspec.convert(values, Config, dec_hook=_path)
    except (msgspec.ValidationError, NotImplementedError) as error:
        raise InvalidArgument(f"the configuration is wrong: {error}") from None


def _path(kind: type, value: Any) -> Any:
    if kind is not Path or not isinstance(value, str):
        raise NotImplementedError(f"expected a path, got {value!r}")
    return Path(value)


_LISTS: dict[str, type[Section]] = {"cores": CoreConfig, "mounts": MountConfig}
"""Tables of which there are several."""


def _refuse_unknown(values: dict[str, Any], section: type[Section], where: str) -> None:
    types = get_type_hints(section)
    for key, value in values.items():
        if key not in types:
            near = difflib.get_close_matches(key, types, 1)
            hint = f"; did you mean {where}{near[0]!r}?" if near else f"; there are {', '.join(types)}"
            raise InvalidArgument(f"the configuration has no key {where}{key!r}{hint}")
        if key in _LISTS and isinstance(value, list):
            for one in value:
                if isinstance(one, dict):
                    _refuse_unknown(one, _LISTS[key], f"{key}.")
        elif isinstance(value, dict) and isinstance(types[key], type) and issubclass(types[key], Section):
            _refuse_unknown(value, types[key], f"{key}.")
