"""What the unit tests share."""

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's own affair.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")
