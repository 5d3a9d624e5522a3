"""What holds for all tests."""

from hypothesis import settings

# How long an example takes says nothing here: the machine has other work.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
