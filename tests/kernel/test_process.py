"""Processes: identities, who may do what to whom, mail, leases, and what is there after a restart."""

import asyncio

import pytest
from driving import boot, failing_audit, settle_down

from aios.abi import syscalls as sc
from aios.abi.errors import (
    Cancelled,
    Conflict,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
)
from aios.drivers.llm_scripted import HANG, ScriptedDriver
from aios.kernel.config import ProcessConfig
from aios.kernel.process import Process, hash_of


@pytest.mark.parametrize("token", ["", "x", "é" * 50, "\ud800"])
async def test_a_token_that_the_kernel_did_not_give_opens_nothing(run, token):
    with pytest.raises(Unauthenticated):
        await run.kernel.trap(token, sc.ProcessList())
    with pytest.raises(Unauthenticated):
        run.kernel.verify(token)


async def test_each_process_has_a_principal_of_its_own(run):
    first, second = await run.spawn("writer"), await run.spawn("writer")
    assert (first.principal, second.principal) == (f"writer.{first.pid}", f"writer.{second.pid}")
    assert first.token != second.token


async def test_only_the_operator_chooses_principals_and_durability(run):
    agent = await run.spawn()
    for fields in ({"principal": "operator"}, {"durable": True}):
        with pytest.raises(PermissionDenied):
            await run.spawn("sly", agent.pid, **fields)
    assert (await run.spawn(principal="team")).principal == "team"


async def test_a_principal_to_come_cannot_be_taken_before(run):
    with pytest.raises(InvalidArgument):
        await run.spawn(principal="writer.99")
    gone = await run.spawn("writer")
    assert (await run.spawn(principal=gone.principal)).principal == gone.principal


async def test_it_sees_itself_and_its_children(run):
    parent, stranger = await run.spawn(), await run.spawn()
    child = await run.spawn(parent=parent.pid)
    grandchild = await run.spawn(parent=child.pid)
    entries = await run.call(parent.pid, sc.ProcessList())
    assert [one.pid for one in entries.processes] == [parent.pid, child.pid, grandchild.pid]
    everything = await run.call(1, sc.ProcessList())
    assert stranger.pid in [one.pid for one in everything.processes]


@pytest.mark.parametrize(
    "verb", [sc.ProcessKill, sc.ProcessSuspend, sc.ProcessResume, sc.ProcessWait, sc.ProcessUsage]
)
async def test_strangers_look_as_if_they_were_not_there(run, verb):
    agent, stranger = await run.spawn(), await run.spawn()
    with pytest.raises(NotFound) as forbidden:
        await run.call(agent.pid, verb(pid=stranger.pid))
    with pytest.raises(NotFound) as absent:
        await run.call(agent.pid, verb(pid=999))
    assert forbidden.value.message.replace(str(stranger.pid), "999") == absent.value.message


async def test_a_parent_waits_for_its_childs_result(run):
    parent = await run.spawn()
    child = await run.spawn(parent=parent.pid)
    waits = run.begin(parent.pid, sc.ProcessWait(pid=child.pid))
    await settle_down()
    await run.call(child.pid, sc.ProcessExit(result="42"))
    assert await waits == sc.ExitStatus(child.pid, "exited", "42")
    assert await run.call(parent.pid, sc.ProcessWait(pid=child.pid)) == sc.ExitStatus(
        child.pid, "exited", "42"
    )
    with pytest.raises(Unauthenticated):
        await run.call(child.pid, sc.ProcessList())


async def test_to_wait_for_oneself_would_be_for_ever(run):
    agent = await run.spawn()
    with pytest.raises(Conflict):
        await run.call(agent.pid, sc.ProcessWait(pid=agent.pid))


async def test_an_end_takes_the_children_along(run):
    parent = await run.spawn()
    child = await run.spawn(parent=parent.pid)
    await run.call(parent.pid, sc.ProcessExit())
    assert (await run.call(1, sc.ProcessWait(pid=child.pid))).state == "killed"


async def test_an_end_reaches_the_last_of_a_long_line(tmp_path):
    async with boot(tmp_path) as run:
        table, line = run.kernel._processes, []
        for pid in range(2, 1502):
            line.append(Process(pid, "agent", f"agent.{pid}", hash_of(str(pid))))
            table.add(line[-1], table.get(pid - 1))
        assert table.end(line[0], "exited", "done") == line
        assert {one.state for one in line[1:]} == {"killed"}
        assert (line[0].state, line[0].result, table.num_alive) == ("exited", "done", 1)


async def test_parents_are_marked_before_anything_follows_from_an_end(run):
    parent = await run.spawn()
    child = await run.spawn(parent=parent.pid)
    table, seen = run.kernel._processes, []
    on_end = table._on_end

    def note(process):
        seen.append((process.pid, [table.get(pid).has_ended for pid in (parent.pid, child.pid)]))
        on_end(process)

    table._on_end = note
    await run.call(1, sc.ProcessKill(pid=parent.pid))
    assert seen == [(parent.pid, [True, True]), (child.pid, [True, True])]


async def test_the_operators_own_process_does_not_end(run):
    for call in (sc.ProcessKill(pid=1), sc.ProcessSuspend(pid=1), sc.ProcessExit()):
        with pytest.raises(Conflict):
            await run.call(1, call)


async def test_ended_processes_are_kept_for_those_that_wait_and_then_forgotten(tmp_path):
    async with boot(tmp_path, processes=ProcessConfig(max_ended=1)) as run:
        first, second = await run.spawn(), await run.spawn()
        await run.call(first.pid, sc.ProcessExit())
        assert (await run.call(1, sc.ProcessWait(pid=first.pid))).state == "exited"
        await run.call(second.pid, sc.ProcessExit())
        with pytest.raises(NotFound):
            await run.call(1, sc.ProcessWait(pid=first.pid))


async def test_there_is_a_most_of_processes(tmp_path):
    async with boot(tmp_path, processes=ProcessConfig(max_processes=2)) as run:
        agent = await run.spawn()
        with pytest.raises(Overloaded):
            await run.spawn()
        await run.call(1, sc.ProcessKill(pid=agent.pid))
        await run.spawn()


# ---- mail


async def test_mail_comes_in_order_or_is_waited_for(run):
    first, second = await run.spawn(), await run.spawn()
    for text in ("one", "two"):
        await run.call(first.pid, sc.ProcessSend(pid=second.pid, text=text))
    texts = [(await run.call(second.pid, sc.ProcessReceive())).text for _ in range(2)]
    assert texts == ["one", "two"]
    waits = run.begin(second.pid, sc.ProcessReceive())
    await settle_down()
    await run.call(first.pid, sc.ProcessSend(pid=second.pid, text="three"))
    mail = await waits
    assert (mail.sender, mail.text) == (first.pid, "three")


async def test_a_mailbox_has_a_most(tmp_path):
    async with boot(tmp_path, processes=ProcessConfig(max_mail=2, max_mail_bytes=10)) as run:
        agent = await run.spawn()
        with pytest.raises(Overloaded):
            await run.call(1, sc.ProcessSend(pid=agent.pid, text="x" * 11))
        for _ in range(2):
            await run.call(1, sc.ProcessSend(pid=agent.pid, text="x"))
        with pytest.raises(Overloaded):
            await run.call(1, sc.ProcessSend(pid=agent.pid, text="x"))
        await run.call(agent.pid, sc.ProcessReceive())
        await run.call(1, sc.ProcessSend(pid=agent.pid, text="x"))


async def test_a_message_for_a_receiver_that_went_away_stays(run):
    agent = await run.spawn()
    waits = run.begin(agent.pid, sc.ProcessReceive(), timeout_s=1.0)
    await settle_down()
    run.clock.advance(1.0)
    await run.call(1, sc.ProcessSend(pid=agent.pid, text="still here"))
    await asyncio.gather(waits, return_exceptions=True)
    assert (await run.call(agent.pid, sc.ProcessReceive())).text == "still here"


async def test_a_message_for_a_receiver_that_went_away_goes_to_the_next(run):
    agent = await run.spawn()
    first = run.begin(agent.pid, sc.ProcessReceive(), timeout_s=1.0)
    second = run.begin(agent.pid, sc.ProcessReceive())
    await settle_down()
    table = run.kernel._processes
    table.send(table.get(1), table.get(agent.pid), "for whoever stays")
    run.clock.advance(1.0)
    with pytest.raises(DeadlineExceeded):
        await first
    await settle_down()
    assert second.done()
    assert (await second).text == "for whoever stays"


async def test_a_mailbox_counts_bytes(tmp_path):
    async with boot(tmp_path, processes=ProcessConfig(max_mail_bytes=10)) as run:
        agent = await run.spawn()
        with pytest.raises(Overloaded):
            await run.call(1, sc.ProcessSend(pid=agent.pid, text="€" * 4))
        for _ in range(2):
            await run.call(1, sc.ProcessSend(pid=agent.pid, text="€" * 3))
            await run.call(agent.pid, sc.ProcessReceive())
        assert run.kernel._processes.get(agent.pid).mail_bytes == 0


async def test_mail_to_the_dead_and_to_strangers_is_refused(run):
    parent = await run.spawn()
    child, other = await run.spawn(parent=parent.pid), await run.spawn()
    with pytest.raises(NotFound):
        await run.call(child.pid, sc.ProcessSend(pid=other.pid, text="psst"))
    await run.call(1, sc.ProcessKill(pid=other.pid))
    with pytest.raises(Conflict):
        await run.call(1, sc.ProcessSend(pid=other.pid, text="hello"))


async def test_siblings_and_programs_write_to_each_other(run):
    parent = await run.spawn()
    one, two = await run.spawn(parent=parent.pid), await run.spawn(parent=parent.pid)
    await run.call(one.pid, sc.ProcessSend(pid=two.pid, text="hi"))
    await run.call(one.pid, sc.ProcessSend(pid=parent.pid, text="hi"))


# ---- leases and restarts


async def test_a_lease_ends_a_silent_process_and_no_other(tmp_path, ask):
    async with boot(tmp_path, ScriptedDriver(lambda job: HANG)) as run:
        silent, calling, busy = [await run.spawn(lease_s=10.0) for _ in range(3)]
        runs = run.begin(busy.pid, ask())
        await settle_down()
        run.clock.advance(6.0)
        await run.call(calling.pid, sc.ProcessList())
        run.clock.advance(6.0)
        states = {one.pid: one.state for one in (await run.call(1, sc.ProcessList())).processes}
        assert (states[silent.pid], states[calling.pid], states[busy.pid]) == ("killed", "running", "running")
        run.clock.advance(6.0)
        with pytest.raises(Unauthenticated):
            await run.call(calling.pid, sc.ProcessList())
        runs.cancel()
        await settle_down()


async def test_durable_processes_are_back_and_pids_are_never_given_again(tmp_path):
    async with boot(tmp_path) as run:
        operator = run.kernel.operator_token
        durable = await run.spawn("client", durable=True, principal="client")
        ended = await run.spawn("client", durable=True)
        await run.call(ended.pid, sc.ProcessExit())
        passing = await run.spawn()
        await run.call(durable.pid, sc.MemoryAdd(text="remember me"))
    async with boot(tmp_path) as run:
        assert run.kernel.operator_token == operator
        run.tokens.update({durable.pid: durable.token, ended.pid: ended.token, passing.pid: passing.token})
        assert (await run.call(durable.pid, sc.MemoryGet(note_id="n1"))).text == "remember me"
        for gone in (ended, passing):
            with pytest.raises(Unauthenticated):
                await run.call(gone.pid, sc.ProcessList())
        assert (await run.spawn()).pid > passing.pid


async def test_a_kill_that_was_not_written_can_be_repeated(tmp_path):
    async with boot(tmp_path) as run:
        durable = await run.spawn("client", durable=True)
        kill = sc.ProcessKill(pid=durable.pid)
        with failing_audit(run.kernel), pytest.raises(Internal):
            await run.call(1, kill)
        await run.call(1, kill)
    async with boot(tmp_path) as run:
        assert [one.pid for one in run.kernel._processes] == [1]


async def test_a_suspended_process_does_not_resume_itself(run):
    parent = await run.spawn()
    child = await run.spawn(parent=parent.pid)
    await run.call(parent.pid, sc.ProcessSuspend(pid=child.pid))
    with pytest.raises(PermissionDenied):
        await run.call(child.pid, sc.ProcessResume(pid=child.pid))
    await run.call(parent.pid, sc.ProcessResume(pid=child.pid))
    await run.call(child.pid, sc.ProcessResume(pid=child.pid))


async def test_durable_and_leased_exclude_each_other(run):
    with pytest.raises(InvalidArgument):
        await run.spawn(durable=True, lease_s=5.0)


async def test_the_operators_token_is_for_its_owner_only(run, tmp_path):
    file = tmp_path / "operator.token"
    assert file.read_text().strip() == run.kernel.operator_token
    assert file.stat().st_mode & 0o777 == 0o600


async def test_no_token_is_kept_on_the_disk(run, tmp_path):
    agent = await run.spawn(durable=True)
    for file in tmp_path.iterdir():
        if file.name != "operator.token":
            assert agent.token.encode() not in file.read_bytes()


async def test_calls_of_one_that_ends_itself(run):
    agent = await run.spawn()
    waits = run.begin(agent.pid, sc.ProcessReceive())
    await settle_down()
    assert await run.call(agent.pid, sc.ProcessKill(pid=agent.pid)) == sc.Done()
    with pytest.raises(Cancelled):
        await waits
