"""What every test shares: hypothesis is seeded and never judges by time."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "aios",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("aios")
