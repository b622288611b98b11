"""The scheduling policies as an option of commands, without importing the kernel to say which there are."""

from enum import StrEnum
from typing import Annotated

import typer


class Policy(StrEnum):
    """The names of `kernel.config.PolicyName`."""

    fifo = "fifo"
    program_fifo = "program_fifo"
    rr = "rr"
    priority = "priority"
    mlfq = "mlfq"
    plas = "plas"
    atlas = "atlas"
    srpt = "srpt"
    gittins = "gittins"
    critical_path = "critical_path"
    fair = "fair"
    virtual_finish = "virtual_finish"
    edf = "edf"
    llf = "llf"
    oracle = "oracle"


_OPTION = typer.Option(
    metavar="POLICY", help="How calls of models are scheduled: plas, rr, fifo, fair, srpt, edf, ..."
)
PolicyOption = Annotated[Policy, _OPTION]
MaybePolicy = Annotated[Policy | None, _OPTION]
