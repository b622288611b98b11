"""What every test shares: hypothesis is seeded and never judges by time; no library tells of us."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "aios",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("aios")

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # Tests look whether onnxruntime is there, which starts it.
