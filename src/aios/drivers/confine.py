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
from collections.abc import Iterable, Iterator
from errno import EACCES, ENOSYS
from pathlib import Path

from msgspec import Struct

IsolationLevel = str
"""What holds hosted code: `process`, one with limits; `landlock`, besides, only its own files; `+seccomp`,
besides, no network. An older system leaves some things free, and the level names them."""


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
    if sys.platform != "linux":
        return "process"
    return _level(_landlock_version(), platform.machine() in _MACHINES)


def _level(landlock_version: int, has_seccomp: bool) -> IsolationLevel:
    if landlock_version < 1:
        return "process"
    free = ["truncating files"] if landlock_version < 3 and not has_seccomp else []
    free += ["signals"] if landlock_version < 6 else []
    level = "landlock+seccomp" if has_seccomp else "landlock"
    return f"{level} without {', '.join(free)}" if free else level


def confine(limits: Limits, folder: str, readable: Iterable[str], protected: Iterable[str] = ()) -> None:
    """Give up everything but `folder` (to write) and what is readable. `OSError` when a layer fails.

    What is `protected` is not readable as a part of the system, nor as the limits have it.
    """
    _set_limits(limits)
    if sys.platform != "linux":
        return
    _drop_capabilities()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    version = _landlock_version()
    if version < 1:
        return
    guarded = [Path(path).resolve() for path in protected]
    shared = [each for path in (*_SYSTEM_FILES, *limits.readable) for each in _beside(Path(path), guarded)]
    _landlock(folder, (*shared, *readable))
    if platform.machine() in _MACHINES:
        _seccomp(limits, version)


def _beside(path: Path, guarded: list[Path]) -> Iterator[str]:
    """The path; where something guarded is below it, all that is beside that instead."""
    real = path.resolve()
    if any(guard == real or guard in real.parents for guard in guarded):
        return
    if any(real in guard.parents for guard in guarded):
        for below in real.iterdir():
            if not below.is_symlink():  # What it leads to is elsewhere, and readable where that is.
                yield from _beside(below, guarded)
    else:
        yield str(real)


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


# ---- seccomp (linux/seccomp.h): no sockets, none of the calls that escapes are made of, and none that
# change what Landlock leaves alone: modes, owners and times of files, shared memory, other processes' ranks

_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Of each architecture its number for the filter, and its column in the tables of calls."""

_Numbers = tuple[int | None, int | None]
"""A call's number on x86_64 and on aarch64, where it has one."""

_REFUSED: dict[str, _Numbers] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "open_by_handle_at": (304, 265),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
}
_IGNORED: dict[str, _Numbers] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
}
"""They succeed and do nothing: a copy of a file, which sets its mode and times, would fail otherwise."""
_OF_ITSELF: dict[str, _Numbers] = {
    "prlimit64": (302, 261),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
}
"""Their first argument says whose limits or rank to change."""
_OF_ITSELF_IN_SECOND: dict[str, tuple[_Numbers, int]] = {
    "setpriority": ((141, 140), 0),
    "ioprio_set": ((251, 30), 1),
}
"""So does their second, where the first is this kind, a single process."""
_TRUNCATE: _Numbers = (76, 45)
_SOCKET: _Numbers = (41, 198)
_CLONE: _Numbers = (56, 220)
_CLONE3 = 435

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_NETWORK_FAMILIES = (2, 10)
_NEW_NAMESPACES = 0x7E020000
_X32_CALLS = 0x40000000


def _seccomp(limits: Limits, landlock_version: int) -> None:
    code = _filter(platform.machine(), limits.network, may_truncate=landlock_version >= 3)
    instructions = ctypes.create_string_buffer(b"".join(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(instructions)))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def _filter(machine: str, network: bool, *, may_truncate: bool) -> list[bytes]:
    """The filter's program: of each call that is not simply allowed its number, and what follows."""
    architecture, column = _MACHINES[machine]
    itself = (0, os.getpid())
    families = _NETWORK_FAMILIES if network else ()
    rules = [(numbers[column], _REFUSE) for numbers in _REFUSED.values()]
    rules += [(numbers[column], _PRETEND) for numbers in _IGNORED.values()]
    rules += [(numbers[column], _only(0, itself)) for numbers in _OF_ITSELF.values()]
    for numbers, kind in _OF_ITSELF_IN_SECOND.values():
        rules.append((numbers[column], [*_must_be(0, kind), *_only(1, itself)]))
    if not may_truncate:
        rules.append((_TRUNCATE[column], _REFUSE))
    rules += [(_SOCKET[column], _only(0, families)), (_CLONE[column], _no_bit(0, _NEW_NAMESPACES))]
    rules.append((_CLONE3, _ABSENT))  # Its flags are out of a filter's sight; without it, clone is used.
    code = [_instruction(_LOAD, _ARCHITECTURE), _instruction(_EQUAL, architecture, 1, 0), *_REFUSE]
    code += [_instruction(_LOAD, _NUMBER), _instruction(_AT_LEAST, _X32_CALLS, 0, 1), *_REFUSE]
    for number, then in rules:
        if number is not None:
            code += [_instruction(_EQUAL, number, 0, len(then)), *then]
    return code + _ALLOW


def _instruction(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """A test skips as many instructions as it says for its outcome."""
    return struct.pack("=HBBI", operation, if_true, if_false, value)


_ALLOW = [_instruction(_RETURN, 0x7FFF0000)]
_PRETEND, _REFUSE, _ABSENT = ([_instruction(_RETURN, 0x00050000 | code)] for code in (0, EACCES, ENOSYS))


def _load(argument: int) -> bytes:
    return _instruction(_LOAD, _ARGUMENTS + 8 * argument)


def _must_be(argument: int, value: int) -> list[bytes]:
    return [_load(argument), _instruction(_EQUAL, value, 1, 0), *_REFUSE]


def _only(argument: int, values: Iterable[int]) -> list[bytes]:
    tests = [code for value in values for code in (_instruction(_EQUAL, value, 0, 1), *_ALLOW)]
    return [_load(argument), *tests, *_REFUSE]


def _no_bit(argument: int, bits: int) -> list[bytes]:
    return [_load(argument), _instruction(_ANY_BIT, bits, 0, 1), *_REFUSE, *_ALLOW]
