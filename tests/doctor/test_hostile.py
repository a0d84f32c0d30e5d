"""Trees made to mislead: each gives a finding or a clear refusal, soon and in little memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

import pytest

from doctor.scenes import SITE, Image

#: What the issue allows: seconds, and bytes of memory.
SECONDS, MEMORY = 2.0, 200 << 20


def _doctor(image: Image, *environ: str) -> tuple[subprocess.CompletedProcess[str], float]:
    settings = [part for each in environ for part in ("--env", each)]
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", "doctor", "--root", str(image.folder), "-v", *settings],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY)),
    )  # fmt: skip
    assert done.stderr == ""
    assert "internal error" not in done.stdout
    assert done.returncode in (0, 1), done.stdout
    return done, time.monotonic() - begun


def _sparse(size: int) -> bytes:
    """An ELF header whose program headers lie at the far end of a file of this size."""
    header = bytearray(64)
    header[:7] = b"\x7fELF\x02\x01\x01"
    header[16:20] = b"\x03\x00\x3e\x00"
    header[32:40] = (size - 0xFFFF * 56).to_bytes(8, "little")
    header[54:58] = b"\x38\x00\xff\xff"
    return bytes(header)


@pytest.mark.parametrize("content", ["empty", "truncated", "sparse", "text", "fifo", "directory",
                                     "loop"])  # fmt: skip
def test_a_runtime_that_is_none(image: Image, content: str) -> None:
    image.torch()
    path = image.folder / "opt/rocm/lib/libamdhip64.so"
    path.parent.mkdir(parents=True)
    good = (image.site / "torch/lib/libamdhip64.so.6").read_bytes()
    if content == "fifo":
        os.mkfifo(path)
    elif content == "directory":
        path.mkdir()
    elif content == "loop":
        path.symlink_to("libamdhip64.so")
    else:
        size = 4 << 30
        path.write_bytes({"empty": b"", "truncated": good[:300], "sparse": _sparse(size),
                          "text": b"GROUP ( x )"}[content])  # fmt: skip
        if content == "sparse":
            os.truncate(path, size)
    image.xsched()
    done, seconds = _doctor(image, "LD_LIBRARY_PATH=/opt/xsched/lib")
    assert "/opt/rocm/lib/libamdhip64.so" in done.stdout.replace("\n      ", "")
    assert "WARN  runtimes.usable" in done.stdout
    assert seconds < SECONDS


def test_files_that_would_be_waited_for_or_never_end(image: Image) -> None:
    image.torch()
    for name in ("torch/version.py", "torch/_rocm_init.py", "x.pth", "waits/__init__.py"):
        path = image.site / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    (image.site / "again").symlink_to("..")
    (image.site / "waits/down").symlink_to(f"/{SITE}/waits")
    big = image.site / "waits/big.py"
    big.touch()
    os.truncate(big, 8 << 30)
    (image.folder / "etc").mkdir(exist_ok=True)
    os.mkfifo(image.folder / "etc/ld.so.cache")
    done, seconds = _doctor(image)
    assert "WARN  python.torch" in done.stdout
    assert seconds < SECONDS


def test_names_that_a_terminal_would_obey(image: Image) -> None:
    image.torch()
    folder = image.site / "red\x1b[31m"
    folder.mkdir()
    image.runtime(f"{SITE}/red\x1b[31m/libamdhip64.so.5")
    os.mkdir(os.fsencode(image.site) + b"/bytes\xff")
    done, _ = _doctor(image)
    assert "\x1b" not in done.stdout
    assert "red\\x1b[31m" in done.stdout


def test_a_cache_of_noise(image: Image) -> None:
    image.torch()
    (image.folder / "etc").mkdir(exist_ok=True)
    (image.folder / "etc/ld.so.cache").write_bytes(b"glibc-ld.so.cache1.1" + b"\xff" * 4000)
    done, seconds = _doctor(image)
    assert "PASS  forecast.agreement" in done.stdout
    assert seconds < SECONDS
