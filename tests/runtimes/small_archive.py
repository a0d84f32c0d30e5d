"""A small archive of packages, served to the real apt: its suites, and what can go wrong."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: As Debian had them in 2026.
CODE_NAMES = {
    "oldstable": "bookworm", "stable": "trixie", "testing": "forky", "unstable": "sid",
    "experimental": "rc-buggy",
}  # fmt: skip


class SmallArchive:
    """Debian's archive in a directory, with a server on this machine while it is entered."""

    def __init__(self, top: Path, architecture: str, origin: str = "Debian") -> None:
        self.top = top
        self.architecture = architecture
        self.origin = origin
        self.stanzas: dict[str, list[str]] = {}
        #: Paths that were asked for.
        self.asked: list[str] = []
        #: Packages whose file is cut short on the way, and such as never come to an end.
        self.cut: set[str] = set()
        self.hanging: set[str] = set()
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, archive=self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/debian"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def add(
        self, suites: str, name: str, version: str, files: dict[str, Path | str], depends: str = "",
        source: str = "",
    ) -> Path:  # fmt: skip
        """Build a package and put it into some suites; returns its file."""
        fields = {
            "Package": name, "Version": version, "Architecture": self.architecture,
            "Maintainer": "Nobody <nobody@localhost>", "Source": source, "Depends": depends,
            "Description": "a test",
        }  # fmt: skip
        control = "".join(f"{key}: {value}\n" for key, value in fields.items() if value)
        pool = self.top / "debian" / "pool"
        pool.mkdir(parents=True, exist_ok=True)
        file = pool / f"{name}_{version.rpartition(':')[2]}_{self.architecture}.deb"
        with tempfile.TemporaryDirectory() as tree:
            for path, content in {"DEBIAN/control": control, **files}.items():
                target = Path(tree) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, Path):
                    shutil.copy(content, target)
                elif content.startswith("-> "):
                    target.symlink_to(content[3:])
                else:
                    target.write_text(content)
            build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, str(file)]
            subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        data = file.read_bytes()
        stanza = (
            f"{control}Filename: pool/{file.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
        for suite in suites.split():
            self.stanzas.setdefault(suite, []).append(stanza)
        return file

    def publish(self) -> None:
        """Write the lists of all suites that have a package."""
        for suite, stanzas in self.stanzas.items():
            folder = self.top / "debian" / "dists" / suite
            index = f"main/binary-{self.architecture}/Packages"
            text = "\n".join(stanzas).encode()
            (folder / index).parent.mkdir(parents=True, exist_ok=True)
            (folder / index).write_bytes(text)
            automatic = "NotAutomatic: yes\n" if suite == "experimental" else ""
            (folder / "Release").write_text(
                f"Origin: {self.origin}\nLabel: {self.origin}\nSuite: {suite}\n"
                f"Codename: {CODE_NAMES[suite]}\nDate: Sat, 01 Aug 2026 00:00:00 UTC\n"
                f"{automatic}Architectures: {self.architecture}\nComponents: main\nSHA256:\n"
                f" {hashlib.sha256(text).hexdigest()} {len(text)} {index}\n"
            )

    def wait_until_released(self) -> None:
        self._released.wait(60)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: object, archive: SmallArchive) -> None:
        self.archive = archive
        super().__init__(*arguments, directory=str(archive.top))  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.archive.asked.append(self.path)
        name = self.path.rpartition("/")[2].partition("_")[0]
        if name not in self.archive.cut | self.archive.hanging:
            super().do_GET()
            return
        data = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:1000])
        self.wfile.flush()
        if name in self.archive.hanging:
            self.archive.wait_until_released()
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass
