"""What a file's keys must satisfy beyond their types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Checks = Mapping[str, tuple[Callable[[Any], bool], str]]
"""What a type cannot say of a key in a file: a test, and the sentence for who fails it. A struct that
is read from a file may carry one as `CHECKS`, and one as `TOGETHER` whose tests are of the whole struct,
each under the key that is to blame."""
