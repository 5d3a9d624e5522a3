"""A page that gives way to another is waited for, as a person does."""

from __future__ import annotations

from urllib.parse import quote

from tests.gateway.browser import Page

RESTLESS = """<body><script>
const end = Date.now() + 1500, draw = () => {
  const late = Date.now() > end
  document.body.innerHTML = `<p>${late ? "late" : "early"}</p>` + (late ? "<button>go</button>" : "")
  document.querySelector("button")?.addEventListener("click", () => { document.title = "gone" })
  if (!late || Date.now() < end + 500) setTimeout(draw, 1)
}
draw()
</script>"""


def test_what_is_redrawn_while_it_is_read_is_read_again(page: Page) -> None:
    for _ in range(3):
        page.driver.get(f"data:text/html,{quote(RESTLESS)}")
        page.shows("late", "p")
        page.click("button")
        page.until(lambda: page.driver.title == "gone")
