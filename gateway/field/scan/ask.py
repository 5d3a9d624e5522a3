"""One request on a line, on behalf of a scan: put directly, or by the gateway that owns the line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from gateway.model import Bus, Checks, Device, Driver, GatewayError, Point

T = TypeVar("T", bound=msgspec.Struct)
Table = dict[str, Any]
Ask = Callable[[Bus], Awaitable[Table]]


def question(
    driver: Driver, address: Any, model: str = "", points: Mapping[str, Point] | None = None
) -> Ask:
    """Without points: whether somebody is at that address (the driver's `Address`); the answer is
    `{"says": …}`. With a model's points: their numbers on the wire, `{"wire": …}`. Raises `ReadFailed` or
    `LinkDown`; never writes."""

    async def ask(bus: Bus) -> Table:
        if points is None:
            return {"says": await bus.probe(address)}
        stranger = Device(
            name=f"scan {address} {model}",
            title={},
            kind="",
            profile=model,
            bus="",
            address=address,
            points=dict(points),
            every=1.0,
        )
        return {"wire": driver.decode(points, await bus.read(stranger))}

    return ask


def build(kind: type[T], keys: Mapping[str, Any]) -> T:
    """A driver's options or address from the keys of a table. Raises `GatewayError`."""
    try:
        built = msgspec.convert(keys, kind)
    except msgspec.ValidationError as error:
        raise GatewayError("command-form", reason=error) from error
    checks: Checks = getattr(kind, "CHECKS", {})
    for key, (holds, sentence) in checks.items():
        if not holds(getattr(built, key)):
            raise GatewayError(sentence)
    return built


def pack(points: Mapping[str, Point]) -> Table:
    """Points as plain tables, without what stands there by default."""
    return {
        name: {
            field.name: msgspec.to_builtins(getattr(point, field.name))
            for field in msgspec.structs.fields(point)
            if field.required or getattr(point, field.name) != field.default
        }
        for name, point in points.items()
    }


def unpack(driver: Driver, packed: Any) -> dict[str, Point]:
    """The driver's points again. Raises `GatewayError`."""
    try:
        points: dict[str, Point] = msgspec.convert(packed, dict[str, driver.point])  # type: ignore[name-defined]
    except msgspec.ValidationError as error:
        raise GatewayError("command-form", reason=error) from error
    return points
