"""Hatchling's build hook: compile the native parts and put them into the wheel."""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build_native


class NativeBuildHook(BuildHookInterface):
    """An editable install uses what is built in the checkout; a wheel leaves the checkout alone."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        try:
            if version == "editable":
                build_native.build_all(Path(self.root) / "xdiag", stale=True)
            else:
                self._scratch = tempfile.TemporaryDirectory()
                for path in build_native.build_all(Path(self._scratch.name)):
                    inside = path.relative_to(self._scratch.name)
                    build_data["force_include"][str(path)] = f"xdiag/{inside}"
        except build_native.BuildError as error:
            raise SystemExit(f"xdiag: {error}") from error
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"cp310-abi3-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()
