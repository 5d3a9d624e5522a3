"""What a file's keys must satisfy beyond their types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Checks = Mapping[str, tuple[Callable[[Any], bool], str]]
"""A key of a file to what its type cannot say: a predicate, and the key of the sentence for a value that
fails it. A struct that is read from a file may carry one as `CHECKS`, whose predicates receive one value,
and one as `STRUCT_CHECKS`, whose predicates receive the whole struct. Those of the structs that it extends
hold as well."""
