"""A Google Cloud Storage server for tests: as much of its JSON API as `object_store` calls.

The client library finds it by the environment variable STORAGE_EMULATOR_HOST.
https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

MULTIPART = 8 << 20
"""The client library uploads what is larger in another way, which is not here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _split(self) -> tuple[str, list[str], dict[str, str]]:
        url = urllib.parse.urlsplit(self.path)
        action, _, path = url.path.partition("storage/v1/b/")
        parts = [urllib.parse.unquote(part) for part in path.split("/")]
        return action.strip("/"), parts, dict(urllib.parse.parse_qsl(url.query))

    def do_GET(self) -> None:
        action, (bucket, *rest), query = self._split()
        objects, name = self.server.buckets.get(bucket), rest[1:]
        if objects is None:
            self._send(404, b"No such bucket")
        elif not rest:
            self._answer({"kind": "storage#bucket", "name": bucket})
        elif name and action == "download":
            found = objects.get(name[0])
            self._send(200 if found is not None else 404, found or b"")
        else:
            prefix = query.get("prefix", "")
            found = [
                self._resource(bucket, key) for key in sorted(objects) if key.startswith(prefix)
            ]
            self._answer({"kind": "storage#objects", "items": found})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        action, (bucket, _, *rest), query = self._split()
        objects = self.server.buckets[bucket]
        if action == "upload":
            assert query["uploadType"] == "multipart", "larger than MULTIPART"
            header = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parser = email.parser.BytesParser(policy=email.policy.HTTP)
            metadata, content = parser.parsebytes(header + body).iter_parts()
            name = json.loads(metadata.get_payload(decode=True))["name"]
            objects[name] = content.get_payload(decode=True)
        else:
            source, copy_to, _, _, _, name = rest
            assert copy_to == "copyTo"
            objects[name] = objects[source]
        self._answer(self._resource(bucket, name))

    def do_DELETE(self) -> None:
        _, (bucket, _, name), _ = self._split()
        del self.server.buckets[bucket][name]
        self._send(204, b"")

    def _resource(self, bucket: str, name: str) -> dict[str, str]:
        content = self.server.buckets[bucket][name]
        etag = hashlib.md5(content).hexdigest()
        return {"kind": "storage#object", "name": name, "bucket": bucket, "etag": etag}

    def _answer(self, value: dict[str, Any]) -> None:
        self._send(200, json.dumps(value).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, bucket: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, dict[str, bytes]] = {bucket: {}}


@contextlib.contextmanager
def serving(bucket: str) -> Iterator[str]:
    """Serves one empty bucket; gives the value of STORAGE_EMULATOR_HOST."""
    server = _Server(bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
