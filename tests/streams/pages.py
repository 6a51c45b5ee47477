"""Pages of other origins: a server for them, and what they do with a native EventSource."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WATCH = """
(url, options = {}) => {
  const seen = { records: [], closings: [], beats: [], states: [], ids: [] };
  const source = new EventSource(url, options);
  seen.source = source;
  source.onopen = () => seen.states.push("open");
  source.onerror = () => seen.states.push(source.readyState === 2 ? "closed" : "connecting");
  source.onmessage = (event) => seen.records.push(JSON.parse(event.data).value.n);
  source.addEventListener("heartbeat", (event) => {
    seen.beats.push(JSON.parse(event.data));
    seen.ids.push(event.lastEventId);
  });
  source.addEventListener("closing", (event) => {
    seen.closings.push(JSON.parse(event.data));
    seen.ids.push(event.lastEventId);
  });
  window.seen = seen;
}
"""
"""Opens a stream as any page would, and keeps what it saw in ``window.seen``."""


class Page(BaseHTTPRequestHandler):
    """An empty page at ``/``; a plain 503 at ``/busy``, which kills an EventSource."""

    def do_GET(self) -> None:  # the name that http.server calls
        is_page = not self.path.startswith("/busy")
        body = b"<!doctype html><title>shop</title>" if is_page else b"busy"
        self.send_response(200 if is_page else 503)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""


@contextmanager
def shop() -> Iterator[int]:
    """Yield the port of a server of pages, at ``127.0.0.1`` and ``localhost``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
