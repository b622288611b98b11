"""What files should do, as plainly as it can be said: for each path a list of its versions.

Every method does a call or raises the type of the error that it must give, having changed nothing.
"""

from dataclasses import dataclass, field, replace

from aios.abi.errors import AiosError, Conflict, InvalidArgument, NotFound

MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Version:
    """`content` None is a deletion."""

    verb: str
    content: bytes | None
    label: str
    moment: int


@dataclass
class Lock:
    token: int
    expires: int


@dataclass
class Model:
    """One owner's tree."""

    files: dict[str, list[Version]] = field(default_factory=dict)
    oldest: dict[str, int] = field(default_factory=dict)
    """By path, the oldest version that was not pruned."""
    made: dict[str, int] = field(default_factory=dict)
    """Folders made with mkdir, and when."""
    locks: dict[str, Lock] = field(default_factory=dict)
    moment: int = 0
    now: float = 1_700_000_000.0

    # ---- looking

    def newest(self, path: str) -> bytes | None:
        return self.files[path][-1].content if path in self.files else None

    def is_file(self, path: str) -> bool:
        return self.newest(path) is not None

    def below(self, folder: str) -> list[str]:
        """Files there, by path."""
        return [path for path in self.all_below(folder) if self.is_file(path)]

    def all_below(self, folder: str) -> list[str]:
        """Files that are or were there."""
        return sorted(path for path in self.files if is_below(path, folder))

    def is_folder(self, path: str) -> bool:
        made = any(one == path or is_below(one, path) for one in self.made)
        return not path or made or bool(self.below(path))

    def version(self, path: str) -> int:
        """What a call may be bound to."""
        if self.is_file(path):
            return len(self.files[path])
        return self.folder_version(path) if self.is_folder(path) else 0

    def folder_version(self, path: str) -> int:
        moments = [self.files[one][-1].moment for one in self.all_below(path)]
        moments += [moment for one, moment in self.made.items() if one == path or is_below(one, path)]
        return max(moments, default=0)

    def means_file(self, path: str) -> bool:
        """Whether a path that may be a file's or a folder's is a file's."""
        return self.is_file(path) or (path in self.files and not self.is_folder(path))

    def at(self, path: str, moment: int) -> Version | None:
        """What a file was then. NotFound where that was pruned."""
        kept = self.files[path][self.oldest[path] - 1 :]
        found = [version for version in kept if version.moment <= moment]
        if not found and self.oldest[path] > 1:
            raise NotFound("pruned")
        return found[-1] if found else None

    # ---- changing

    def write(self, path: str, content: bytes, verb: str, label: str, bound: int | None, token: int | None):
        self._check_locks(path, token)
        found = len(self.files[path]) if self.is_file(path) else 0
        if bound is not None and bound != found:
            raise Conflict("version")
        if verb == "append" and found:
            last = self.files[path][-1]
            content = last.content + content
            label = "untrusted" if "untrusted" in (last.label, label) else "trusted"
        self._check_free(path)
        self._add(path, verb, content, label)

    def mkdir(self, path: str) -> None:
        self._check_locks(path, None)
        if self.is_file(path):
            raise Conflict("a file")
        self._check_free(path)
        if self.is_folder(path):
            raise Conflict("a folder")
        self.made[path] = self._next()

    def delete(self, path: str, deep: bool, bound: int | None, token: int | None) -> None:
        is_file = self.is_file(path)
        self._check_locks(path, token, deep=not is_file)
        if not is_file:
            self._check_folder(path, bound)
            if self.below(path) and not deep:
                raise Conflict("not empty")
        elif bound is not None and bound != len(self.files[path]):
            raise Conflict("version")
        for one in [path] if is_file else self.below(path):
            self._add(one, "delete", None, self.files[one][-1].label)
        if not is_file:
            self._unmake(path)

    def move(self, path: str, to: str, bound: int | None, token: int | None) -> None:
        is_file = self.is_file(path)
        self._check_locks(path, token, deep=not is_file)
        self._check_others(to, token, deep=not is_file)
        if is_file:
            if bound is not None and bound != len(self.files[path]):
                raise Conflict("version")
            if self.is_file(to):
                raise Conflict("there")
            self._try_move_file(path, to)
            return
        if is_below(to, path) or to == path:
            raise InvalidArgument("into itself")
        self._check_folder(path, bound)
        if self.is_file(to):
            raise Conflict("there")
        self._check_free(to)
        for one in self.below(path):
            self._try_move_file(one, to + one.removeprefix(path))
        for one, moment in self._unmake(path).items():
            self.made[to + one.removeprefix(path)] = moment

    def rollback(self, path: str, version: int | None, moment: int | None, bound, token) -> None:
        is_file = self.means_file(path)
        self._check_locks(path, token, deep=not is_file)
        if is_file:
            found = len(self.files[path]) if self.is_file(path) else 0
            if bound is not None and bound != found:
                raise Conflict("version")
            old = self._old(path, version) if version is not None else self.at(path, moment)
            if old is None or old.content is None:
                raise NotFound("no content then")
            self._check_free(path)
            self._add(path, "rollback", old.content, old.label)
            return
        if bound is not None and bound != self.folder_version(path):
            raise Conflict("version")
        if not self.all_below(path) and not self.is_folder(path):
            raise NotFound("nothing")
        then = {one: self.at(one, moment if version is None else version) for one in self.all_below(path)}
        was_there = {one: old for one, old in then.items() if old is not None and old.content is not None}
        for one in self.below(path):
            if one not in was_there:
                self._add(one, "delete", None, self.files[one][-1].label)
        for one, old in was_there.items():
            now = self.files[one][-1]
            if (now.content, now.label) != (old.content, old.label):
                self._check_free(one)
                self._add(one, "rollback", old.content, old.label)

    def prune(self, path: str, keep: int, before: int | None, bound: int | None) -> int:
        """How many versions went."""
        is_file = self.means_file(path)
        found = self.version(path) if is_file else self.folder_version(path)
        if is_file and not self.is_file(path):
            found = 0
        if not is_file and path and not found:
            raise NotFound("nothing")
        if bound is not None and bound != found:
            raise Conflict("version")
        return sum(self._prune(one, keep, before) for one in ([path] if is_file else self.all_below(path)))

    def _prune(self, path: str, keep: int, before: int | None) -> int:
        versions, oldest = self.files[path], self.oldest[path]
        old_enough = [
            number
            for number in range(oldest, len(versions) + 1)
            if before is None or versions[number - 1].moment <= before
        ]
        newest_then = old_enough[-1] if old_enough else oldest
        if versions[-1].content is None and keep == 0 and newest_then == len(versions):
            del self.files[path], self.oldest[path]
            return len(versions) + 1 - oldest
        self.oldest[path] = max(oldest, min(newest_then, len(versions) - max(keep, 1) + 1))
        return self.oldest[path] - oldest

    def lock(self, path: str, lease_s: float, token: int | None) -> None:
        self._check_locks(path, token, deep=True)
        expires = round(self.now * MICROSECONDS) + round(lease_s * MICROSECONDS)
        if token is None:
            self.locks[path] = Lock(self._next(), expires)
        else:
            (name,) = [one for one, lock in self._live(path).items() if lock.token == token]
            self.locks[name].expires = expires

    def unlock(self, path: str, token: int) -> None:
        if path not in self._live(path) or self.locks[path].token != token:
            raise Conflict("ended")
        del self.locks[path]

    # ---- what these are made of

    def _next(self) -> int:
        self.moment = max(self.moment + 1, round(self.now * MICROSECONDS))
        return self.moment

    def _add(self, path: str, verb: str, content: bytes | None, label: str) -> None:
        self.files.setdefault(path, []).append(Version(verb, content, label, self._next()))
        self.oldest.setdefault(path, 1)

    def _try_move_file(self, path: str, to: str) -> None:
        """It is gone from its old place when its new one is looked at."""
        last = self.files[path][-1]
        before = list(self.files[path]), self.moment
        self._add(path, "delete", None, last.label)
        try:
            self._check_free(to)
        except AiosError:
            self.files[path], self.moment = before
            raise
        self._add(to, "move", last.content, last.label)

    def _old(self, path: str, version: int) -> Version:
        if not self.oldest[path] <= version <= len(self.files[path]):
            raise NotFound("no such version")
        return self.files[path][version - 1]

    def _unmake(self, path: str) -> dict[str, int]:
        gone = {one: at for one, at in self.made.items() if one == path or is_below(one, path)}
        self.made = {one: at for one, at in self.made.items() if one not in gone}
        return gone

    def _check_folder(self, path: str, bound: int | None) -> None:
        if not self.is_folder(path):
            raise NotFound("nothing")
        if bound is not None and bound != self.folder_version(path):
            raise Conflict("version")

    def _check_free(self, path: str) -> None:
        """A file that is to be there (again) must not be in a file, nor have a folder's name."""
        if self.is_file(path):
            return
        if any(self.is_file(one) for one in ancestors(path)) or self.is_folder(path):
            raise Conflict("name")

    def _live(self, path: str, *, deep: bool = False) -> dict[str, Lock]:
        now = round(self.now * MICROSECONDS)
        return {
            one: lock
            for one, lock in self.locks.items()
            if lock.expires > now
            and (one == path or one in ancestors(path) or (deep and is_below(one, path)))
        }

    def _check_locks(self, path: str, token: int | None, *, deep: bool = False) -> None:
        mine = [lock for lock in self._live(path).values() if lock.token == token]
        if token is not None and not mine:
            raise Conflict("ended")
        self._check_others(path, token, deep=deep)

    def _check_others(self, path: str, token: int | None, *, deep: bool = False) -> None:
        if any(lock.token != token for lock in self._live(path, deep=deep).values()):
            raise Conflict("locked")

    def copy(self) -> "Model":
        return replace(
            self,
            files={path: list(versions) for path, versions in self.files.items()},
            oldest=dict(self.oldest),
            made=dict(self.made),
            locks={path: replace(lock) for path, lock in self.locks.items()},
        )


def is_below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/") if folder else True


def ancestors(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(1, len(names))]
