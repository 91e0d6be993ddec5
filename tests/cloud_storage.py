"""A Cloud Storage on this machine: PyPI's emulator, slow or refusing where asked for, with Google's preconditions."""

import io
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import pytest

BUCKET = "bucket1"
VARIABLES = ("STORAGE_EMULATOR_HOST", "CLOUD_STORAGE_EMULATOR_ENDPOINT", "TENSORSTORE_GCS_HTTP_URL")


@dataclass
class CloudStorage:
    """The store.

    Attributes:
        url: of its server.
        delay_s: of every answer.
        refusals: [(method, pattern of the whole request line, status, reason, how many times more)].
        asked: the request lines so far.
    """

    url: str = ""
    delay_s: float = 0.0
    refusals: list[list[Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def refuse(self, method: str, pattern: str, status: int, reason: str = "refused", times: int = 10**9) -> None:
        """Answers requests so, instead of doing what they ask for."""
        self.refusals.append([method, re.compile(pattern), status, reason, times])

    def refusal(self, method: str, line: str) -> tuple[int, str] | None:
        for each in self.refusals:
            if each[0] == method and each[1].search(line) and each[4] > 0:
                each[4] -= 1
                return each[2], each[3]
        return None


def _handler(cloud: CloudStorage, lock: threading.RLock) -> type:
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.server import RequestHandler

    class Handler(RequestHandler):
        def _serve(self, method: str) -> None:
            line = unquote(self.path)
            cloud.asked.append(f"{method} {line}")
            if cloud.delay_s:
                time.sleep(cloud.delay_s)
            refusal = cloud.refusal(method, line)
            with lock:
                if refusal is None and (status := self._holds()) is not None:
                    refusal = (status, "of its generation")
                if refusal is None:
                    getattr(super(), f"do_{method}")()
                    return
            status, reason = refusal
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.generation = None
            body = f'{{"error": {{"code": {int(status)}, "message": "{reason}"}}}}'.encode()
            self.send_response(status, HTTPStatus(status).phrase)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "0" if status == HTTPStatus.NOT_MODIFIED else str(len(body)))
            self.end_headers()
            if status != HTTPStatus.NOT_MODIFIED:
                self.wfile.write(body)

        def _holds(self) -> HTTPStatus | None:
            """Looks at the conditions on generations, which the emulator does not know: the answer where they fail."""
            url = urlparse(self.path)
            query = parse_qs(url.query)
            self.generation = None
            if "alt" not in query and not query.keys() & {"ifGenerationMatch", "ifGenerationNotMatch"}:
                return None
            name = query["name"][0] if "name" in query else None
            if name is None and self.command == "POST":  # it is in the body, which must be there for the emulator too
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.rfile = io.BytesIO(body)
                name = re.search(rb'"name": "([^"]*)"', body)[1].decode()
            name = name or unquote(url.path.split("/o/")[1])
            bucket = url.path.split("/b/")[1].split("/")[0]
            try:
                about = self.storage.get_file_obj(bucket, name)
            except NotFound:
                about = {"generation": "0", "size": 0}
            there = about["generation"]
            if last := re.fullmatch(r"bytes=-(\d+)", self.headers.get("range", "")):  # nor ranges from the end
                self.headers.replace_header("range", f"bytes={max(int(about['size']) - int(last[1]), 0)}-")
            if query.get("ifGenerationMatch", [there])[0] != there:
                return HTTPStatus.PRECONDITION_FAILED
            if query.get("ifGenerationNotMatch", [""])[0] == there:
                return HTTPStatus.NOT_MODIFIED if there != "0" else HTTPStatus.NOT_FOUND
            self.generation = there
            return None

        def end_headers(self) -> None:
            if self.command == "GET" and getattr(self, "generation", None) is not None:
                self.send_header("x-goog-generation", self.generation)
            super().end_headers()

        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def do_PUT(self) -> None:
            self._serve("PUT")

        def do_DELETE(self) -> None:
            self._serve("DELETE")

        def do_PATCH(self) -> None:
            self._serve("PATCH")

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        """Whoever asked is gone."""


@contextmanager
def cloud_storage() -> Iterator[CloudStorage]:
    """Yields a store with the bucket BUCKET, to which the variables of the environment lead meanwhile."""
    if find_spec("gcsfs") is None or find_spec("gcp_storage_emulator") is None:
        pytest.skip("gcsfs and gcp-storage-emulator are not installed")
    from gcp_storage_emulator.handlers.buckets import create_bucket
    from gcp_storage_emulator.storage import Storage

    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    cloud, storage = CloudStorage(), Storage(use_memory_fs=True)
    create_bucket(BUCKET, storage)
    handler = _handler(cloud, threading.RLock())
    server = _Server(("localhost", 0), partial(handler, storage))
    cloud.url = f"http://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.setenv(name, cloud.url)
        patch.setenv("NO_GCE_CHECK", "true")
        yield cloud
    server.shutdown()
    server.server_close()
