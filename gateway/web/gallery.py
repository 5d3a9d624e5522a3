"""The states that the gallery shows, for the samples of the parts."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gateway.journal import Journal
from gateway.model import Stamp

from .settings import Settings

STATES = (
    "empty", "waiting", "calm", "stale", "away", "fault", "alarm", "acknowledged", "reduced", "drill",
    "long-names",
)  # fmt: skip
"""`empty`: nothing is configured; `waiting`: nothing has been read; `stale`: no reading is of now; `away`:
the gateway does not answer."""
LONG_NAMES = {
    "zh": "滨江街道第二邻里中心三层东侧走廊尽头多功能活动室吊顶内靠窗一侧的设备",
    "en": "The one by the window in the multi-purpose room at the end of the east corridor, third floor",
}


class GalleryMoment(NamedTuple):
    """One of `STATES`, and the time of it (Unix milliseconds)."""

    state: str
    now: int

    @property
    def is_known(self) -> bool:
        """Whether there are any figures."""
        return self.state not in ("empty", "waiting")

    @property
    def is_old(self) -> bool:
        """Whether the figures are those of some time ago."""
        return self.state in ("stale", "away")

    def named(self, zh: str, en: str) -> dict[str, str]:
        """A title by language, unless long ones are to be shown."""
        return LONG_NAMES if self.state == "long-names" else {"zh": zh, "en": en}


class SampleFiles(NamedTuple):
    """What the handlers of the gallery's pages read, to be filled, and the time of it."""

    settings: Settings
    journal: Journal
    now: Stamp

    def ago(self, seconds: float) -> Stamp:
        """So many seconds before."""
        return msgspec.structs.replace(
            self.now,
            wall_ms=self.now.wall_ms - round(seconds * 1000),
            mono_ns=self.now.mono_ns - round(seconds * 1e9),
        )
