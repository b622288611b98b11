"""The configuration: where values come from, and what is said of wrong ones. And the two clocks."""

from pathlib import Path
from typing import get_args

import pytest

from aios.abi.errors import InvalidArgument
from aios.abi.syscalls import Budget
from aios.cli.policy import Policy
from aios.drivers.clock import ManualClock
from aios.kernel.config import Config, CoreConfig, PolicyName


def load(tmp_path, text: str = "", **environ: str) -> Config:
    file = tmp_path / "aios.toml"
    file.write_text(text)
    return Config.load(file, environ)


def test_the_environment_goes_over_the_file(tmp_path):
    config = load(
        tmp_path,
        'port = 1\nhost = "127.0.0.2"\n[scheduler]\nquantum = 8\npolicy = "fifo"\n',
        AIOS_PORT="2",
        AIOS_SCHEDULER__QUANTUM="16",
        AIOS_DATA="/somewhere",
        AIOS_TOKEN="not a key",
        HOME="not ours",
    )
    assert (config.port, config.host, config.data) == (2, "127.0.0.2", Path("/somewhere"))
    assert (config.scheduler.quantum, config.scheduler.policy) == (16, "fifo")
    assert config.socket_path == Path("/somewhere/aios.sock")


def test_cores_are_tables_or_json(tmp_path):
    table = '[[cores]]\nname = "far"\nkind = "openai"\nbase_url = "http://x/v1"\nmodel = "m"\nslots = 3\n'
    json = '[{"name": "far", "kind": "openai", "base_url": "http://x/v1", "model": "m", "slots": 3}]'
    assert load(tmp_path, table).cores == load(tmp_path, AIOS_CORES=json).cores
    assert load(tmp_path).cores == (CoreConfig(),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "did you mean 'port'"),
        ("[scheduler]\nquantm = 1", "'quantum'"),
        ('[[cores]]\nmodle = "x"', "'model'"),
        ("[schedular]\nquantum = 1", "'scheduler'"),
        ("port = 70000", "port"),
        ('port = "x"', "port"),
        ("[scheduler]\nquantum = 0", "quantum"),
        ('[scheduler]\npolicy = "lottery"', "policy"),
        ("data = 3", "path"),
        ("cores = []", "cores"),
        ('[[cores]]\nkind = "openai"', "base_url"),
        ('[[cores]]\nkind = "huggingface"', "path"),
        ('[[cores]]\nkind = "huggingface"\npath = "a"\ndevice = "tpu"', "tpu"),
        ('[[cores]]\nname = "a"\n[[cores]]\nname = "a"', "same name"),
        ('[[cores]]\nname = "tool"', "'tool'"),
        ('[journal]\nfile = "aios.db"', "kernel's own"),
        ('[journal]\nfile = "./aios.db-wal"', "kernel's own"),
        ('[journal]\nfile = "../x"', "not in the data folder"),
        ('[journal]\nfile = "/x"', "not in the data folder"),
        ("port = ", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, said):
    with pytest.raises(InvalidArgument, match=said):
        load(tmp_path, text)


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(InvalidArgument, match="no configuration file"):
        Config.load(tmp_path / "none.toml", {})


def test_a_home_folder_is_spelled_out():
    assert Config(data=Path("~/x")).data == Path.home() / "x"


def test_a_manual_clock_calls_in_the_order_of_time():
    clock, called = ManualClock(), []
    clock.call_later(2.0, lambda: called.append((2, clock.now())))
    clock.call_later(1.0, lambda: called.append((1, clock.now())))
    clock.call_later(1.5, lambda: called.append((1.5, clock.now()))).cancel()
    clock.advance(1.0)
    assert called == [(1, 1.0)]
    clock.advance(5.0)
    assert called == [(1, 1.0), (2, 2.0)]
    assert clock.now() == 6.0


def test_a_fallback_has_to_be_a_core():
    with pytest.raises(ValueError, match="falls back on 'b'"):
        Config(cores=(CoreConfig(name="a", fallback=("b",)),))


def test_tenants_are_tables_of_their_own(tmp_path):
    path = tmp_path / "aios.toml"
    path.write_text("[tenants.acme]\nweight = 2.0\nbudget = { tokens = 1000, money = 1.5 }\n")
    config = Config.load(path, {})
    assert config.tenants["acme"].weight == 2.0
    assert config.tenants["acme"].budget == Budget(tokens=1000, money=1.5)
    path.write_text("[tenants.acme]\nwieght = 2.0\n")
    with pytest.raises(InvalidArgument, match="wieght"):
        Config.load(path, {})


def test_the_command_line_knows_every_policy():
    assert {policy.value for policy in Policy} == set(get_args(PolicyName))
