"""Which torch is measured, on which device: found on disk first, then asked in a child."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from xdiag.discover import devices, python_environment
from xdiag.discover import torch as torch_on_disk
from xdiag.discover.root import Root
from xdiag.doctor import interpreter
from xdiag.errors import CannotRun
from xdiag.workload.children import run
from xdiag.workload.model import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

CHILD = Path(__file__).parent / "child"
#: Seconds that torch may take to be imported and to look for its GPU.
_PATIENCE = 180
#: The line of /proc/driver/nvidia/version, whichever flavour of the module.
_NVIDIA = re.compile(r"NVRM version:.*?\s(\d+\.\d+[.\d]*)\s")

Device = Literal["auto", "cpu", "cuda", "hip"]
_BUILDS = {"cpu": "CPUs only", "cuda": "CUDA", "hip": "HIP"}


class _Answer(msgspec.Struct):
    """What ask_torch.py prints."""

    problem: str = ""
    python_version: str = ""
    torch: str = ""
    hip: str = ""
    cuda: str = ""
    folder: str = ""
    cxx11_abi: bool = True
    no_gpu: str = ""
    device_name: str = ""


def find(python: str | None, device: Device, environ: Mapping[str, str]) -> Subject:
    """The torch of the interpreter that was named, else of the usual one, and its device.

    Raises Usage where there is no such interpreter; CannotRun, with what to do, where it has no
    torch, or one that was built for something else than ``device``, or no GPU was found for it.
    """
    root = Root("/")
    chosen = (
        interpreter.named(python, root, environ)
        if python is not None
        else interpreter.usual(root, environ)
    )
    if chosen is None:
        raise CannotRun("no Python here; name one that has torch with --python")
    environment = python_environment.find(chosen.path, root, environ)
    if not torch_on_disk.find(environment, root):
        raise CannotRun(
            f"{chosen.path} ({chosen.because}) has no torch;"
            " name an interpreter that has it with --python"
        )
    answer = _ask(chosen.path, environ)
    build: Literal["cpu", "cuda", "hip"] = "hip" if answer.hip else "cuda" if answer.cuda else "cpu"
    if device in ("cuda", "hip"):
        _check_build(device, build, answer, chosen.path)
    on_gpu = device != "cpu" and not answer.no_gpu
    no_gpu = "as asked for" if device == "cpu" else _first_sentence(answer.no_gpu)
    return Subject(
        python=chosen.path,
        because=chosen.because,
        python_version=answer.python_version,
        torch=answer.torch,
        build=build,
        hip=answer.hip,
        cuda=answer.cuda,
        device="gpu" if on_gpu else "cpu",
        device_name=answer.device_name if on_gpu else _processor(),
        driver=_driver(build) if on_gpu else "",
        processors=len(os.sched_getaffinity(0)),
        no_gpu="" if on_gpu else no_gpu,
        folder=answer.folder,
        cxx11_abi=answer.cxx11_abi,
    )


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of what runs in torch's interpreter: the user's own.

    But its scripts find each other by their folder, and nothing is written beside them.
    """
    kept = {name: value for name, value in environ.items() if name != "PYTHONSAFEPATH"}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}


def _ask(python: str, environ: Mapping[str, str]) -> _Answer:
    ended = run([python, str(CHILD / "ask_torch.py")], child_environment(environ), _PATIENCE)
    if ended.ending != "ok":
        how = f" within {_PATIENCE} s" if ended.ending == "hang" else f": {ended.last_line}"
        raise CannotRun(f"torch cannot be asked in {python}{how}")
    try:
        answer = msgspec.json.decode(ended.last_line, type=_Answer)
    except msgspec.DecodeError as error:
        raise CannotRun(f"torch cannot be asked in {python}: {ended.last_line!r}") from error
    if answer.problem:
        raise CannotRun(f"torch cannot be imported in {python}: {answer.problem}")
    return answer


def _check_build(
    device: Literal["cuda", "hip"], build: Literal["cpu", "cuda", "hip"], answer: _Answer, path: str
) -> None:
    if build != device:
        raise CannotRun(
            f"--device {device}: torch {answer.torch} in {path} was built for {_BUILDS[build]};"
            f" name an interpreter whose torch was built for {_BUILDS[device]} with --python"
        )
    if answer.no_gpu:
        why = _first_sentence(answer.no_gpu)
        raise CannotRun(f"--device {device}: torch {answer.torch} finds no GPU: {why}")


def _first_sentence(text: str) -> str:
    """What is wrong; torch goes on with links and advice."""
    return text.split(". ")[0].rstrip(".")


def _processor() -> str:
    """The processor's name as the kernel has it; its architecture where it has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, os.uname().machine)


def _driver(build: str) -> str:
    if build == "hip":
        return devices.find(Root("/")).driver
    try:
        text = Path("/proc/driver/nvidia/version").read_text(errors="replace")
    except OSError:
        return ""
    match = _NVIDIA.search(text)
    return f"nvidia {match[1]}" if match else ""
