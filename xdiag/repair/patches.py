"""The catalogue of source patches: written by us, against other projects' public sources."""

from __future__ import annotations

from importlib import resources

from xdiag.model import Record


class Source(Record, frozen=True):
    """A state of a public repository: where it is, and the revision (a full commit id)."""

    repository: str
    revision: str


class Patch(Record, frozen=True):
    """A unified diff with a commit message that explains it to that project's maintainers."""

    id: str
    title: str
    #: What it was last applied to, compiled and run with.
    against: Source
    #: The file with it, beside this module.
    file: str

    def text(self) -> str:
        """The patch, as `git am` and `git apply` take it."""
        return (resources.files(__package__) / "diffs" / self.file).read_text(encoding="utf-8")


PATCHES: tuple[Patch, ...] = (
    Patch(
        id="xsched",
        title="XSched uses the HIP runtime that is already loaded, and refuses bad handles"
        " with an error code",
        against=Source(
            repository="https://github.com/XpuOS/xsched",
            revision="bd494cb7a72958cd11900243a0798df00d856c6e",
        ),
        file="xsched-reuse-loaded-runtime.patch",
    ),
)
