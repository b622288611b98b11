"""Whether a generation may have failed as it did."""

from aios.abi.errors import AiosError, Unavailable
from aios.abi.syscalls import Budget
from simulated.agents import Asked
from simulated.facts import Facts


def why_not(asked: Asked, error: AiosError, facts: Facts) -> str:
    """Why a call must not have been lost so; empty where it may."""
    agent, call = asked.agent, asked.call
    match error.code:
        case "deadline_exceeded":
            due = None if asked.timeout_s is None else asked.began + asked.timeout_s
            return "" if due is not None and facts.now >= due - 1e-6 else "it had time"
        case "quota_exceeded":
            is_limited = facts.kernel.config.tenants[agent.tenant].budget != Budget()
            return "" if is_limited or asked.is_limited else "nobody set it a limit"
        case "cancelled" | "unauthenticated":
            return "" if facts.is_gone(agent.pid) else "its process lives"
        case "context_overflow":
            return "" if call.is_told_off else "no endpoint said so"
        case "overloaded" if "wait for" in error.message:
            return ""  # Judged as it was submitted.
        case "overloaded" | "rate_limited" | "unavailable" | "exhausted":
            return _why_not_lost(asked, error, facts)
    return "that is no answer to a generation"


def _why_not_lost(asked: Asked, error: AiosError, facts: Facts) -> str:
    """No call is lost to an endpoint, unless nothing could be done about it."""
    call, retry = asked.call, facts.kernel.config.retry
    if isinstance(error, Unavailable) and not facts.kernel._is_running:
        return ""
    if call.delivered:
        return ""
    silent = (one.silent_since for one in facts.endpoints.values())
    if any(since is not None and facts.now - since > retry.give_up_s for since in silent):
        return ""
    if error.code == "exhausted":
        return "" if any(not one.is_sound for one in facts.health.values()) else "a core is well"
    if error.code == "unavailable":
        return "" if call.num_failures >= retry.max_attempts else f"it was tried {call.num_failures} times"
    return "there was only no room for it"
