"""A file server on loopback that can break off, to test downloads with."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Served:
    """Files, and what was asked for.

    Args:
        files: contents by name; a path's last part counts.
        breaks: so many answers break off in the middle.
        ranges: whether it can send the rest of a file alone.
    """

    files: Mapping[str, bytes]
    breaks: int = 0
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """Serve files while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            name, wanted = self.path.rpartition("/")[2], self.headers.get("Range")
            content = served.files.get(name)
            if content is None:
                self.send_error(404)
                return
            if with_body:
                served.asked.append((name, wanted))
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and served.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", 40 * "a")
            self.end_headers()
            if with_body:
                rest = content[start:]
                breaks = served.breaks > 0
                served.breaks -= breaks
                self.wfile.write(rest[: len(rest) // 2] if breaks else rest)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
