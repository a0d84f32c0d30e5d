"""PyTorch on disk: version, what it was built for, and where its runtime comes from.

It is found along the search path and its source is parsed; nothing of it is imported.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Literal

from xdiag import platforms
from xdiag.discover import python_environment
from xdiag.discover.names import HIP, family_of
from xdiag.discover.source import parsed
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdiag.discover.python_environment import PythonEnvironment
    from xdiag.discover.root import Root

#: Read of a source file; these have a few lines, and parsing a full megabyte would take a second.
_MOST_SOURCE = 128 << 10


class Torch(Record, frozen=True):
    """One installed PyTorch."""

    folder: str
    #: torch.__version__: "2.9.0+rocm6.4".
    version: str = ""
    #: torch.version.hip and torch.version.cuda; empty where it was built without.
    hip: str = ""
    cuda: str = ""
    #: Where its own libraries are.
    library_dir: str = ""
    #: Names there of runtimes that came with it.
    bundled: tuple[str, ...] = ()
    #: Short names that it has AMD's ROCm wheels load, in this order, before anything of its own
    #: (torch/_rocm_init.py, which calls rocm_sdk.initialize_process).
    preloads: tuple[str, ...] = ()
    #: The version of these wheels that it was built for.
    wants_rocm: str = ""
    #: What is damaged, in one line.
    problem: str = ""

    @property
    def runtime_from(self) -> Literal["bundled", "wheels", "system", ""]:
        """Who provides its HIP runtime; empty for a build without HIP."""
        if self.preloads:
            return "wheels"
        if any(family_of(name) == HIP for name in self.bundled):
            return "bundled"
        return "system" if self.hip else ""


def find(environment: PythonEnvironment, root: Root) -> tuple[Torch, ...]:
    """All that is called torch on the search path; the first is the one that is imported."""
    folders = python_environment.packages("torch", environment, root)
    return tuple(read(folder, root) for folder in folders)


def read(folder: str, root: Root) -> Torch:
    """The PyTorch in a directory."""
    problem = ""
    values = _values(f"{folder}/version.py", root)
    if values is None:
        values = {}
        problem = f"{folder}/version.py is missing or damaged: no complete PyTorch"
    library_dir = f"{folder}/lib"
    preloads, wants = _rocm_init(f"{folder}/_rocm_init.py", root)
    return Torch(
        folder=folder,
        version=values.get("__version__", ""),
        hip=values.get("hip", ""),
        cuda=values.get("cuda", ""),
        library_dir=library_dir if root.is_dir(library_dir) else "",
        bundled=tuple(name for name in root.names(library_dir) if family_of(name)),
        preloads=preloads,
        wants_rocm=wants,
        problem=problem,
    )


def unfit(version: str, built: Mapping[str, str | None], platform: str) -> str:
    """Why a torch cannot be used on a platform, in one line; empty where it was built for it.

    ``built``: by platform, what torch.version says of it, empty or None where it was built without.
    """
    if built.get(platform):
        return ""
    title = platforms.get(platform).title
    others = [name for name, what in built.items() if what]
    what = " and ".join(f"for {platforms.get(name).title} {built[name]}" for name in others)
    ask = "".join(f", or ask with --platform {name}" for name in others)
    return (
        f"torch {version} was built {what or 'without GPU support'}, and {title} was asked for:"
        f" install the one for {title}{ask}"
    )


def _values(path: str, root: Root) -> dict[str, str] | None:
    """Strings assigned at the top of version.py (written by tools/generate_torch_version.py)."""
    tree = _parsed(path, root)
    if tree is None:
        return None
    values: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            values |= {each.id: value.value for each in targets if isinstance(each, ast.Name)}
    return values


def _rocm_init(path: str, root: Root) -> tuple[tuple[str, ...], str]:
    """What initialize_process is told to preload, and the version to check; empty where nothing.

    The file is there in builds on ROCm's wheels only (ROCm/TheRock,
    external-builds/pytorch/build_prod_wheels.py); torch/__init__.py calls it first of all.
    """
    tree = _parsed(path, root)
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Call) and "initialize_process" in ast.unparse(node.func):
            given = {each.arg: each.value for each in node.keywords}
            names = given.get("preload_shortnames")
            version = given.get("check_version")
            elements = names.elts if isinstance(names, ast.List | ast.Tuple) else []
            shortnames = [each.value for each in elements if isinstance(each, ast.Constant)]
            wants = version.value if isinstance(version, ast.Constant) else ""
            return tuple(each for each in shortnames if isinstance(each, str)), str(wants or "")
    return (), ""


def _parsed(path: str, root: Root) -> ast.Module | None:
    try:
        return parsed(root.read(path, _MOST_SOURCE))
    except (OSError, ValueError):
        return None
