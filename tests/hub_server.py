"""Both hubs on loopback, as far as their official clients need them to list and download.

    with HubServer(folder) as server:      folder/models/<owner>/<name>/...
        server.url                         folder/datasets/<owner>/<name>/...

A repository named in ``server.gated`` answers 403. ``server.requests`` lists every request line, so
that a test can say "no network".
"""

from __future__ import annotations

import hashlib
import json
import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit


class HubServer:
    """Serves until the end of the ``with`` block; files may change meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gated: set[str] = set()
        self.requests: list[str] = []
        self._http = _Http(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Http(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has what it wants may hang up: nothing for a test's terminal."""


class _Refusal(Exception):
    def __init__(self, status: HTTPStatus, code: str) -> None:
        self.status = status
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hub: HubServer, *arguments: Any) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests want a quiet server."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        words = [unquote(word) for word in parts.path.strip("/").split("/")]
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        try:
            if words[:2] == ["api", "v1"]:
                self._modelscope(words[2:], query)
            elif words[0] == "api":
                self._hugging_face_api(words[1:])
            elif "resolve" in words:
                self._hugging_face_file(words)
            else:
                self._send_json({})
        except _Refusal as refusal:
            self._refuse(refusal)

    # Hugging Face

    def _hugging_face_api(self, words: list[str]) -> None:
        """``models/o/n/revision/main`` and ``models/o/n/tree/<commit>``."""
        repo, question = self._repo(words[0], words[1:3]), words[3:4]
        names = _names(repo)
        if question == ["tree"]:
            self._send_json([_tree_entry(repo, name) for name in names])
            return
        if words[4:] not in ([], ["main"], [_commit(repo)]):
            raise _Refusal(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        siblings = [{"rfilename": name} for name in names]
        self._send_json({"id": "/".join(words[1:3]), "sha": _commit(repo), "siblings": siblings})

    def _hugging_face_file(self, words: list[str]) -> None:
        """``o/n/resolve/<commit>/<path>``, datasets behind ``datasets/``."""
        kind = words.pop(0) if words[0] == "datasets" else "models"
        repo = self._repo(kind, words[:2])
        self._refuse_gated(words[:2])
        path = repo / "/".join(words[4:])
        etag = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        self._send_file(path, {"ETag": f'"{etag}"', "X-Repo-Commit": _commit(repo)})

    # ModelScope

    def _modelscope(self, words: list[str], query: dict[str, str]) -> None:
        """``models/o/n/repo/files``, ``datasets/o/n/repo/tree`` and ``.../repo?FilePath=``."""
        if words[0] not in ("models", "datasets"):
            self._send_json({"Code": 200, "Data": {}})
            return
        repo = self._repo(words[0], words[1:3])
        if query.get("Revision", "master") != "master":
            raise _Refusal(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        if "FilePath" in query:
            self._refuse_gated(words[1:3])
            self._send_file(repo / query["FilePath"], {})
            return
        files = [_listed(repo, name) for name in _names(repo)]
        self._send_json({"Code": 200, "Success": True, "Data": {"Files": files}})

    # Both

    def _repo(self, kind: str, owner_and_name: list[str]) -> Path:
        repo = self.hub.folder / kind / "/".join(owner_and_name)
        if not repo.is_dir():
            raise _Refusal(HTTPStatus.NOT_FOUND, "RepoNotFound")
        return repo

    def _refuse_gated(self, owner_and_name: list[str]) -> None:
        if "/".join(owner_and_name) in self.hub.gated:
            raise _Refusal(HTTPStatus.FORBIDDEN, "GatedRepo")

    def _refuse(self, refusal: _Refusal) -> None:
        body = json.dumps({"Code": refusal.status, "Message": refusal.code}).encode()
        self._send(refusal.status, body, {"X-Error-Code": refusal.code})

    def _send_json(self, value: Any) -> None:
        headers = {"Content-Type": "application/json"}
        self._send(HTTPStatus.OK, json.dumps(value).encode(), headers)

    def _send_file(self, path: Path, headers: dict[str, str]) -> None:
        if not path.is_file():
            raise _Refusal(HTTPStatus.NOT_FOUND, "EntryNotFound")
        data = path.read_bytes()
        wanted = self.headers.get("Range", "").removeprefix("bytes=")
        if not wanted:
            self._send(HTTPStatus.OK, data, headers)
            return
        first, _, last = wanted.partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        headers |= {"Content-Range": f"bytes {start}-{end}/{len(data)}"}
        self._send(HTTPStatus.PARTIAL_CONTENT, data[start : end + 1], headers)

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _names(repo: Path) -> list[str]:
    files = sorted(path for path in repo.rglob("*") if path.is_file())
    return [path.relative_to(repo).as_posix() for path in files]


def _commit(repo: Path) -> str:
    """Forty digits that change with the files, as a commit's do."""
    digest = hashlib.sha1(usedforsecurity=False)
    for name in _names(repo):
        digest.update(name.encode() + b"\0" + (repo / name).read_bytes())
    return digest.hexdigest()


def _tree_entry(repo: Path, name: str) -> dict[str, Any]:
    data = (repo / name).read_bytes()
    oid = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": name, "size": len(data), "oid": oid}


def _listed(repo: Path, name: str) -> dict[str, Any]:
    data = (repo / name).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return {"Path": name, "Type": "blob", "Size": len(data), "Sha256": sha256}
