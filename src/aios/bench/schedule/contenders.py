"""Who competes: agents on their own, the engine's own queue, and the kernel under each policy."""

from collections.abc import Sequence

from msgspec import structs

from aios.bench.schedule.arms import Arm, DirectArm, KernelArm, Says, Told
from aios.bench.schedule.bench import Bench
from aios.bench.schedule.records import Trial
from aios.bench.schedule.workload import Workload
from aios.bench.upstream.direct import DEFAULT, PATIENT, RETRY_AFTER
from aios.kernel.config import PolicyName, SchedulerConfig

SDK = DirectArm("direct, an SDK's retries", DEFAULT)
PATIENTLY = DirectArm("direct, patient retries", PATIENT)
WHEN_TOLD = DirectArm("direct, when told to", RETRY_AFTER)
ENGINE = DirectArm("the engine's own queue", PATIENT, queues=True)


def kernel(
    policy: PolicyName, told: Told = "limits", says: Says = "nothing", note: str = "", **more: object
) -> KernelArm:
    """The kernel under a policy, with nothing else of the scheduler changed."""
    words = [policy, "told nothing" if told == "nothing" else "", note]
    arm = KernelArm("kernel, " + ", ".join(filter(None, words)), SchedulerConfig(policy=policy), told, says)
    return structs.replace(arm, **more)


ORACLE = kernel("oracle", says="work")
OURS = kernel("plas")


def compete(
    bench: Bench, workload: Workload, arms: Sequence[Arm], seed: int | None = None
) -> dict[str, Trial]:
    """Each arm on the workload; the trials by the arm's name."""
    chosen = bench.seed if seed is None else seed
    trials = bench.trials([(arm, workload, chosen) for arm in arms])
    return {arm.name: trial for arm, trial in zip(arms, trials, strict=True)}
