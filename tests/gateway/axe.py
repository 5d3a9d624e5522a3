"""What axe finds on a page that keeps people out (WCAG 2.2 A and AA)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tests.gateway.browser import Page
from tests.npm import installed

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """
const [tags, done] = arguments
axe.run({ runOnly: tags }).then(({ violations }) => done(violations.map(
  ({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) => html.slice(0, 99) + any[0]?.message)}`
)), (error) => done([String(error)]))
"""


@functools.cache
def _source() -> str:
    return (installed("axe") / "node_modules/axe-core/axe.min.js").read_text("utf-8")


def violations(page: Page, rules: Sequence[str] = TAGS) -> list[str]:
    """By rule: where it is violated. `rules`: names or tags, of those only."""
    if not page.driver.execute_script("return 'axe' in window"):
        page.driver.execute_script(_source())
    found: list[str] = page.driver.execute_async_script(RUN, rules)
    return found
