"""Payloads against a platform's JSON Schema: the only file that imports jsonschema, which is an extra."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gateway.config.toml_text import TomlError, read_text
from gateway.model import ConfigError


class Violation(NamedTuple):
    """What in a payload does not conform: a JSON pointer, and the rule of the schema."""

    where: str
    rule: str


class Schema:
    """One schema file. Raises `ConfigError` if it cannot be read, or the package is missing."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            import jsonschema
        except ImportError as error:
            raise ConfigError("schema-package") from error
        try:
            document = json.loads(read_text(file))
            kind = jsonschema.validators.validator_for(document)
            kind.check_schema(document)
        except (TomlError, ValueError, jsonschema.SchemaError) as error:
            raise ConfigError("schema-file", reason=error) from error
        self._validator: Any = kind(document)

    def violations(self, payload: bytes) -> Iterator[Violation]:
        """Everything in a payload that does not conform."""
        for error in self._validator.iter_errors(json.loads(payload)):
            where = "".join(f"/{part}" for part in error.absolute_path) or "/"
            rule = json.dumps({error.validator: error.validator_value}, ensure_ascii=False)
            yield Violation(where, rule if len(rule) <= 120 else f"{rule[:120]}…")
