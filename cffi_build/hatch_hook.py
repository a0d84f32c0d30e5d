"""Hatchling's build hook: compile the native parts and put them into the wheel."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build_native  # noqa: E402


class NativeBuildHook(BuildHookInterface):
    """Builds into the source tree, which serves editable installs too."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        package = Path(self.root) / "xdiag"
        try:
            built = build_native.build_all(package)
        except build_native.BuildError as error:
            raise SystemExit(f"xdiag: {error}") from error
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"cp310-abi3-{platform}"
        build_data["artifacts"] += [f"/{path.relative_to(self.root)}" for path in built]
