"""A part that fails: a job begins again and harms nobody, anything else ends the gateway."""

from __future__ import annotations

import asyncio

import pytest

from gateway.daemon.composition import WORKS_AFTER_S, Components, ComponentSpec
from gateway.journal import JournalDamaged
from tests.clock import FakeClock


class Part:
    """Fails as often as it is told to, then works."""

    def __init__(self, errors: list[Exception], built: list[Part]) -> None:
        self._errors = errors
        built.append(self)

    async def run(self) -> None:
        if self._errors:
            raise self._errors.pop(0)
        await asyncio.Event().wait()


async def test_a_job_that_fails_is_built_again_ever_later(caplog: pytest.LogCaptureFixture) -> None:
    clock, built = FakeClock(), list[Part]()
    errors: list[Exception] = [PermissionError(13, "denied"), ExceptionGroup("", [TypeError("text")])]
    async with Components(clock) as parts:
        parts.start_missing(
            {
                "needs": ComponentSpec(None, lambda: Part(errors, built), restarts=True),
                "other": ComponentSpec(None, lambda: Part([], list[Part]())),
            }
        )
        await clock.advance(1.9)
        assert parts.failing() == ["needs"]
        assert len(built) == 1
        await clock.advance(0.2)
        assert len(built) == 2
        await clock.advance(4.0)
        assert len(built) == 3
        assert parts.all()["needs"] is built[-1]
        assert parts.failing() == ["needs"], "it has not proved yet that it works"
        await clock.advance(WORKS_AFTER_S)
        assert parts.failing() == []
    assert len([line for line in caplog.messages if "[job-failed " in line]) == 1


@pytest.mark.parametrize(
    ("error", "restarts"),
    [(JournalDamaged("journal-read", path="", reason="crc"), True), (OSError(), False)],
)
async def test_what_must_end_the_gateway_does(error: Exception, restarts: bool) -> None:
    spec = ComponentSpec(None, lambda: Part([error], list[Part]()), restarts=restarts)

    async def run() -> None:
        async with Components(FakeClock()) as parts:
            parts.start_missing({"part": spec})
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await run()
    assert raised.value.exceptions == (error,)
