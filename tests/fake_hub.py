"""A stand-in of the Hugging Face Hub on this machine, as far as transformers and datasets go.

    with fake_hub({"SetFit/sst5": folder}) as hub: ...     hub.url for HF_ENDPOINT, hub.asked a list

As on the Hub a model without an owner's name is redirected to one, and so are large files.
"""
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Paths: [/api/models|/api/datasets|/datasets]/owner/name[/what/commit[/file]]."""
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        if self.server.dies_at and self.server.dies_at in path:
            self.server.shutdown()
            self.server.server_close()
            self.close_connection = True
            return
        ignored = ("", "api", "models", "datasets", "stored")
        parts = [part for part in path.split("/") if part not in ignored]
        if f"owner/{parts[0]}" in self.server.folders:
            self.answer(307, Location=self.path.replace(parts[0], f"owner/{parts[0]}", 1))
            return
        name = "/".join(parts[:2])
        call, commit, file = [*parts[2:], "", "", ""][:3]
        folder = self.server.folders.get(name)
        if folder is None:
            self.answer(404, X_Error_Code="RepoNotFound")
        elif file and not (folder / file).is_file():
            self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        elif call == "resolve":
            content = (folder / file).read_bytes()
            about = {"ETag": f'"{digest(content)}"', "X_Repo_Commit": commit}
            if len(content) < 50_000 or path.startswith("/stored/"):
                self.answer(200, content, **about)
            else:
                about |= {"X_Linked_Size": len(content), "X_Linked_ETag": about["ETag"]}
                self.answer(302, Location=f"{self.server.url}/stored{self.path}", **about)
        else:
            files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
            about = {"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in files]}
            tree = [{"type": "file", "path": file, "oid": digest(content), "size": len(content)}
                    for file, content in files.items()]
            self.answer(200, json.dumps(tree if call == "tree" else about).encode())

    do_HEAD = do_GET

    def answer(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        """Nothing on the terminal."""


def digest(content):
    return hashlib.sha256(content).hexdigest()


@contextmanager
def fake_hub(folders, dies_at=None):
    """folders: {repository: folder}. dies_at: the request with this in its path ends the Hub."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.folders = {name if "/" in name else f"owner/{name}": folders[name] for name in folders}
    server.asked, server.dies_at = [], dies_at
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
