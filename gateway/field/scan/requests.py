"""One request of a scan to a device, made directly or by the gateway that owns the line, and what travels
between the two processes for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from gateway.config.fields import struct_from_table
from gateway.model import Bus, Device, Driver, GatewayError, Point, sentence

T = TypeVar("T", bound=msgspec.Struct)
Table = dict[str, Any]
ScanRequest = Callable[[Bus], Awaitable[Table]]


def make_scan_request(
    driver: Driver, address: Any, model: str = "", points: Mapping[str, Point] | None = None
) -> ScanRequest:
    """Without points: whether a device is at that address (the driver's `Address`); the answer is
    `{"says": …}`, its identity. With a model's points: their values on the wire, `{"wire": …}`. Raises
    `ReadFailed` or `LinkDown`; never writes."""

    async def ask(bus: Bus) -> Table:
        if points is None:
            return {"says": await bus.probe(address)}
        candidate = Device(
            name=f"scan {address} {model}",
            title={},
            kind="",
            profile=model,
            bus="",
            address=address,
            points=dict(points),
            every=1.0,
        )
        return {"wire": driver.decode(points, await bus.read(candidate))}

    return ask


def parse_keys(struct_type: type[T], keys: Any) -> T:
    """A driver's options, address or point from the keys of a table. Raises `GatewayError`."""
    if not isinstance(keys, dict):
        raise GatewayError("command-form", reason=sentence("cause.field-wrong", where="address"))
    built, mistakes = struct_from_table(struct_type, keys)
    for mistake in mistakes:
        raise GatewayError(mistake.key, **mistake.facts)
    assert built
    return built


def encode_points(points: Mapping[str, Point]) -> Table:
    """Points as plain tables, without what stands there by default."""
    return {
        name: {
            field.name: msgspec.to_builtins(getattr(point, field.name))
            for field in msgspec.structs.fields(point)
            if field.required or getattr(point, field.name) != field.default
        }
        for name, point in points.items()
    }


def decode_points(driver: Driver, encoded: Any) -> dict[str, Point]:
    """The reverse of `encode_points`. Raises `GatewayError`."""
    if not isinstance(encoded, dict):
        raise GatewayError("command-form", reason=sentence("cause.field-wrong", where="points"))
    return {name: parse_keys(driver.point, table) for name, table in encoded.items()}
