"""A page that keeps a list of everything no page of ours may do."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page, Request

WATCH_CSP = """
document.addEventListener("securitypolicyviolation", event =>
    console.error(`csp: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""


@dataclass
class Watched:
    """A page, and everything it did that no page of ours may do.

    faults  console errors, policy violations, requests to another host, failed requests
    """

    page: Page
    base_url: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(WATCH_CSP)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("request", self._request)

    def open(self, path: str) -> Page:
        self.page.goto(self.base_url + path)
        return self.page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"{self.page.url}: {message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.base_url).netloc:
            self.faults.append(f"{self.page.url}: foreign host: {request.url}")
