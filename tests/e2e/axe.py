"""What axe-core finds on a page, at WCAG 2.0 to 2.2, A and AA."""

from pathlib import Path

from playwright.sync_api import Page

SOURCE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN = """
async tags => {
  const found = await axe.run(document, {runOnly: {type: "tag", values: tags}});
  return found.violations.map(each =>
    `${each.id}: ${each.nodes.map(node => `${node.target} ${node.any.map(one => one.message)}`)}`);
}
"""


def findings(page: Page) -> list[str]:
    """Return a line a violation; the tool comes past the page's policy, by the debugger."""
    page.evaluate(SOURCE)
    found: list[str] = page.evaluate(RUN, TAGS)
    return found
