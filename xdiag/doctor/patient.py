"""Who is examined: a file tree, an environment, an interpreter, a command; facts on demand.

A fact is looked up when a check first asks for it, and once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag.discover import (
    devices,
    distributions,
    libraries,
    mentions,
    owners,
    python_environment,
    rocm,
    torch,
    tree,
    xsched,
)
from xdiag.loader import cache

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdiag.discover.devices import Devices
    from xdiag.discover.distributions import Distributions
    from xdiag.discover.libraries import Libraries
    from xdiag.discover.mentions import Mentions
    from xdiag.discover.python_environment import PythonEnvironment
    from xdiag.discover.rocm import Wheel
    from xdiag.discover.root import Root
    from xdiag.discover.torch import Torch
    from xdiag.discover.tree import Tree
    from xdiag.discover.xsched import XSched
    from xdiag.doctor.interpreter import Interpreter


@dataclass(eq=False)
class Patient:
    """What ``doctor`` looks at.  Paths are as seen from inside ``root``."""

    root: Root
    environ: Mapping[str, str]
    #: None where there is no Python.
    interpreter: Interpreter | None = None
    #: Why there is none, if one was looked for and cannot be used.
    no_interpreter: str = ""
    #: The program of a command about to be started; empty without one.
    program: str = ""
    command: tuple[str, ...] = ()
    cwd: str = "/"
    #: The file that Python runs, or its -m module; both empty without a command that says so.
    script: str = ""
    module: str = ""
    #: False for Python's -S: packages are left out.
    site: bool = True
    #: False for Python's -I and -E: variables called PYTHON... are not read.
    reads_environment: bool = True
    #: Whether the program starts others, which are not foretold.
    launcher: bool = False
    #: Whether a check's own bug is raised instead of told.
    debug: bool = False

    def knows(self, fact: str) -> bool:
        """Whether a fact, by its attribute's name, has been looked up."""
        return fact in self.__dict__

    @cached_property
    def python(self) -> PythonEnvironment | None:
        """The interpreter's environment; None without an interpreter.

        Raises XdiagError where it cannot be made out.
        """
        if self.interpreter is None:
            return None
        found = python_environment.find(self.interpreter.path, self.root, self.environ, self.cwd)
        if self.site:
            return found
        path = self.environ.get("PYTHONPATH", "").split(":")
        kept = tuple(each for each in found.search_path
                     if each in path or each not in found.site_dirs)  # fmt: skip
        left = tuple(each for each in found.site_dirs if each in path)
        return replace(found, search_path=kept, site_dirs=left, editable={})

    @property
    def site_dirs(self) -> tuple[str, ...]:
        """Directories with installed packages; none without a Python."""
        return self.python.site_dirs if self.python is not None else ()

    @property
    def search_path(self) -> tuple[str, ...]:
        """Directories that a script here would import from; only its own without a Python."""
        first = os.path.dirname(self.script) if self.script else self.cwd
        return (first, *(self.python.search_path if self.python is not None else ()))

    @cached_property
    def distributions(self) -> Distributions:
        """What pip and its like have installed for this Python."""
        return distributions.find(self.site_dirs, self.root)

    @cached_property
    def torch(self) -> Torch | None:
        """The PyTorch that is imported here; None where there is none."""
        found = torch.find(self.python, self.root) if self.python is not None else ()
        return found[0] if found else None

    @cached_property
    def rocm_wheels(self) -> tuple[Wheel, ...]:
        """AMD's Python packages of ROCm."""
        return rocm.wheels(self.site_dirs, self.distributions, self.root)

    @cached_property
    def tree(self) -> Tree:
        """All directories of the Python's packages, listed once for all who look through them."""
        return tree.walk(self.site_dirs, self.root)

    @cached_property
    def libraries(self) -> Libraries:
        """GPU libraries on disk: torch's, ROCm's, other packages', the dynamic loader's."""
        places = (
            *libraries.in_torch([self.torch] if self.torch is not None else []),
            *libraries.in_rocm(rocm.installations(self.root, self.environ), self.rocm_wheels),
            *libraries.in_packages(self.tree),
            libraries.in_system(self.environ, self.loader_cache),
            *libraries.in_environment(self.environ, self.cwd),
        )
        return libraries.find(self.root, places)

    @cached_property
    def loader_cache(self) -> tuple[str, ...]:
        """Paths that the dynamic loader's cache lists."""
        return cache.paths(self.root)

    @cached_property
    def mentions(self) -> Mentions:
        """Packages that need or open a runtime for themselves."""
        return mentions.find(self.tree, self.root)

    @cached_property
    def own_mentions(self) -> Mentions:
        """The same of the script that is run, and of the modules beside it."""
        folder = os.path.dirname(self.script)
        if self.module:
            folder = os.path.join(self.cwd, *self.module.split("."))
            if not self.root.is_dir(folder):
                folder = os.path.dirname(folder)
        if not folder or folder in self.site_dirs:
            return mentions.Mentions(())
        return mentions.find(tree.beside(folder, self.root), self.root)

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """Path of each GPU library on disk -> the package that it belongs to."""
        paths = [each.real_path for each in self.libraries.files]
        prefix = self.python.prefix if self.python is not None else ""
        return owners.owners(paths, self.root, self.distributions.found, prefix)

    @cached_property
    def devices(self) -> Devices:
        """AMD's GPUs as the file tree shows them."""
        return devices.find(self.root)

    @cached_property
    def xsched(self) -> XSched:
        """XSched, with the bindings that this Python would import."""
        return xsched.find(self.root, self.environ, self.search_path, self.cwd)
