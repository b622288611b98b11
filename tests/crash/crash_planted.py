"""Faults planted into the real code: the suites have to find each of them."""

import os
import signal

from aios.drivers import sqlite, store, writer
from aios.drivers.writer import Writer, failed
from aios.drivers.writer import _run as run
from aios.kernel import effects
from aios.kernel.replies import Replies


def _normal(monkeypatch):
    monkeypatch.setattr(sqlite, "SYNCHRONOUS", "normal")


def _off(monkeypatch):
    monkeypatch.setattr(sqlite, "SYNCHRONOUS", "off")


def _old_log(monkeypatch):
    monkeypatch.setattr(store, "renew_log", lambda path, vfs: None)


def _key_apart(monkeypatch):
    """What a call was answered is kept with the next write of anybody."""
    late = []

    def keep(self, connection, reply):
        late.append((self, reply))
        self.is_kept = True

    def around(self, work, reply_of, connection):
        while late:
            once, reply = late.pop()
            original_keep(once, connection, reply)
        return original_around(self, work, reply_of, connection)

    original_keep, original_around = effects._Once.keep, effects._Once.around
    monkeypatch.setattr(effects._Once, "keep", keep)
    monkeypatch.setattr(effects._Once, "around", around)


PLANTED_FOR_POWER = {
    "synchronous=NORMAL": _normal,
    "synchronous=OFF": _off,
    "a log is trusted whose flush had failed": _old_log,
    "a reply is kept after its effect": _key_apart,
}


def _failure_is_success(monkeypatch):
    monkeypatch.setattr(Writer, "_resolved", lambda self, jobs, outcomes, number, error: outcomes)


def _failure_is_no_effect(monkeypatch):
    """The commit that failed is answered as an error, and the log is read anew."""

    def resolved(self, jobs, outcomes, number, error):
        self.close()
        self.open()
        return failed(jobs, writer.typed(error))

    monkeypatch.setattr(Writer, "_resolved", resolved)


def _full_is_success(monkeypatch):
    monkeypatch.setattr(
        Writer, "_failed", lambda self, jobs, error: [(job.future, None, None) for job in jobs]
    )


PLANTED_FOR_FAULTS = {
    "a commit that failed is acknowledged": (_failure_is_success, "write"),
    "a commit that failed is an error, whatever is in the log": (_failure_is_no_effect, "sync"),
    "a transaction that failed is acknowledged": (_full_is_success, "write"),
}
"""Each with the kind of operation that has to fail for it to be seen."""


def _no_keys(monkeypatch):
    monkeypatch.setattr(Replies, "find", lambda self, *asked: None)


def _late_commit(monkeypatch):
    """A call is answered, and its transaction is committed with those of the next calls."""
    original = Writer._commit

    def commit(self, jobs):
        if self._late is None:
            self._late = list(jobs)
            return [(job.future, *_imagined(self, job)) for job in jobs]
        jobs, self._late = [*self._late, *jobs], None
        return original(self, jobs)

    monkeypatch.setattr(Writer, "_late", None, raising=False)
    monkeypatch.setattr(Writer, "_commit", commit)


def _imagined(writer, job):
    """What a write would come to."""
    connection = writer._open_again()
    connection.execute("BEGIN IMMEDIATE")
    _, value, error = run(connection, job)
    connection.execute("ROLLBACK")
    return value, error


def die_after(monkeypatch, num_commits):
    """The process is killed after so many commits, before it can say that they worked."""
    original = Writer._commit

    def commit(self, jobs):
        outcomes = original(self, jobs)
        if self.num_commits >= num_commits:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcomes

    monkeypatch.setattr(Writer, "_commit", commit)


PLANTED_FOR_KILLS = {
    "keys are not looked up": _no_keys,
    "a call is answered before its commit": _late_commit,
}
