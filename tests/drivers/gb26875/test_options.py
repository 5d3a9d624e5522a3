from __future__ import annotations

import pytest

from drivers.gb26875 import Options


@pytest.mark.parametrize(
    ("listen", "good"),
    [("0.0.0.0:9000", True), ("[::]:9000", True), ("localhost:0", True), ("/dev/ttyUSB0", True),
     ("9000", False), (":9000", False), ("host:65536", False), ("::1:9000", False), ("", False)],
)  # fmt: skip
def test_where_to_listen(listen: str, good: bool) -> None:
    check, _ = Options.CHECKS["listen"]
    assert check(listen) is good
