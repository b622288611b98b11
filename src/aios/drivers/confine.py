"""What a process gives up before it runs code that is not ours: rights, files, network, memory, time.

Everything here is done by a process to itself and can't be undone by it. Three layers, used as far as the
machine has them: limits and dropped rights (any POSIX system), Landlock for files, signals and abstract
sockets, seccomp for the network and the system calls that escapes are made of (both Linux). Not here:
namespaces, and limits over a whole tree; each process of a tree has the memory limit for itself.
"""

import ctypes
import os
import platform
import resource
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from msgspec import Struct

IsolationLevel = Literal["process", "landlock", "landlock+seccomp"]
"""What holds hosted code: a process with limits; besides, only its own files; besides, no network."""


class Limits(Struct, frozen=True):
    """What one process of a tool may use. Bytes and seconds."""

    memory_bytes: int = 2 * 1024**3
    """Of address space."""
    cpu_s: int = 60
    """Of processor time in one call."""
    file_bytes: int = 64 * 1024**2
    num_files: int = 256
    num_processes: int = 64
    """Beyond those that run when the tool starts. The superuser is not held by it."""
    network: bool = False
    """Whether it may reach the network; local sockets stay shut."""
    readable: tuple[str, ...] = ()
    """Files and folders it may read besides Python, the system's libraries and its own module."""


_SYSTEM_FILES = (
    *(
        "/usr",
        "/lib",
        "/lib64",
        "/bin",
        "/sbin",
        "/opt",
        "/dev/null",
        "/dev/zero",
        "/dev/urandom",
        "/dev/random",
    ),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/hosts"),
    *("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/mime.types"),
)

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
_SECCOMP_MODE_FILTER = 2
_SIGKILL = 9


def die_with_parent() -> None:
    """Have the system kill this process when its parent dies (Linux)."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of every orphan below this process, so that none gets away (Linux)."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def num_tasks() -> int:
    """Processes and threads on this machine, as a start for a limit; 0 where nobody says."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return 0


def isolation_level() -> IsolationLevel:
    """How far this machine can confine hosted code."""
    if sys.platform != "linux" or _landlock_version() < 1:
        return "process"
    return "landlock+seccomp" if platform.machine() in _ARCHITECTURES else "landlock"


def confine(limits: Limits, folder: str, readable: Iterable[str]) -> None:
    """Give up everything but `folder` (to write) and what is readable. `OSError` when a layer fails."""
    _set_limits(limits)
    if sys.platform != "linux":
        return
    _drop_capabilities()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    level = isolation_level()
    if level != "process":
        _landlock(folder, (*_SYSTEM_FILES, *readable, *limits.readable))
    if level == "landlock+seccomp":
        _seccomp(limits.network)


def allow_cpu(seconds: int) -> None:
    """Let this process use so many seconds of processor time from now on."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + seconds + 1, hard))


def _set_limits(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_AS, limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, limits.num_files)
    tasks = num_tasks()
    if tasks:
        _limit(resource.RLIMIT_NPROC, tasks + limits.num_processes)


def _limit(which: int, most: int) -> None:
    _, hard = resource.getrlimit(which)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (bound, bound))


def _prctl(option: int, value: int, pointer: int = 0) -> None:
    arguments = (ctypes.c_ulong(number) for number in (value, pointer, 0, 0))
    _check(ctypes.CDLL(None, use_errno=True).prctl(option, *arguments), "prctl")


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _drop_capabilities() -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    nothing = ctypes.create_string_buffer(24)
    _check(ctypes.CDLL(None, use_errno=True).capset(header, nothing), "capset")


# ---- Landlock (linux/landlock.h): from here on, only these files

_READ = 1 << 2
_READ_FOLDER = 1 << 0 | _READ | 1 << 3
"""Execute, read a file, read a folder."""
_FILE_RIGHTS = 0b111 | 1 << 14 | 1 << 15
_NUM_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights each version knows; 16 from version 5 on."""


def _syscall(number: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))


def _landlock_version() -> int:
    return max(0, _syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def _landlock(folder: str, readable: Iterable[str]) -> None:
    version = _landlock_version()
    every_right = (1 << _NUM_FILE_RIGHTS.get(version, 16)) - 1
    scope = 0b11 if version >= 6 else 0
    attributes = struct.pack("=QQQ", every_right, 0, scope)[: 24 if version >= 6 else 8]
    ruleset = _check(
        _syscall(444, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0)), "landlock"
    )
    try:
        for path in readable:
            _allow_beneath(ruleset, path, _READ_FOLDER & every_right)
        _allow_beneath(ruleset, "/dev/null", (_READ | 1 << 1 | 1 << 14) & every_right)
        _allow_beneath(ruleset, folder, every_right)
        _check(_syscall(446, ctypes.c_int(ruleset), ctypes.c_uint(0)), "landlock")
    finally:
        os.close(ruleset)


def _allow_beneath(ruleset: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # a path that is not there needs no rule
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, beneath)
        _check(_syscall(445, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0)), "landlock")
    finally:
        os.close(beneath)


# ---- seccomp (linux/seccomp.h): no sockets, and none of the calls that escapes are made of

_ARCHITECTURES = {
    # name: its number for the filter, socket(), and the calls refused, in this order: ptrace mount umount2
    # pivot_root unshare setns keyctl add_key request_key bpf perf_event_open userfaultfd process_vm_readv
    # process_vm_writev kexec_load init_module finit_module open_by_handle_at
    "x86_64": (
        0xC000003E,
        41,
        (101, 165, 166, 155, 272, 308, 250, 248, 249, 321, 298, 323, 310, 311, 246, 175, 313, 304),
    ),
    "aarch64": (
        0xC00000B7,
        198,
        (117, 40, 39, 41, 97, 268, 219, 217, 218, 280, 241, 282, 270, 271, 104, 105, 273, 265),
    ),
}
_REFUSED_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442)
"""io_uring (which opens sockets unseen), the new mount calls, pidfd_getfd: the same on every architecture."""

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_NETWORK_FAMILIES = (2, 10)
_X32_CALLS = 0x40000000


def _seccomp(network: bool) -> None:
    code = _filter(*_ARCHITECTURES[platform.machine()], _NETWORK_FAMILIES if network else ())
    instructions = ctypes.create_string_buffer(b"".join(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(instructions)))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def _filter(
    architecture: int, socket: int, refused: tuple[int, ...], families: tuple[int, ...]
) -> list[bytes]:
    """The filter's program. Each test skips the next instruction, a refusal, or falls into it."""
    refuse = _instruction(_RETURN, _REFUSE)
    code = [_instruction(_LOAD, _ARCHITECTURE), _instruction(_EQUAL, architecture, 1, 0), refuse]
    code += [_instruction(_LOAD, _NUMBER), _instruction(_AT_LEAST, _X32_CALLS, 0, 1), refuse]
    for number in (*refused, *_REFUSED_EVERYWHERE):
        code += [_instruction(_EQUAL, number, 0, 1), refuse]
    allow = _instruction(_RETURN, _ALLOW)
    code += [_instruction(_EQUAL, socket, 1, 0), allow, _instruction(_LOAD, _FIRST_ARGUMENT)]
    for family in families:
        code += [_instruction(_EQUAL, family, 0, 1), allow]
    return [*code, refuse]


def _instruction(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, if_true, if_false, value)
