"""xdiag: find out why a GPU stream handle is refused, and prove it by experiment."""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xdiag.loaded import (
        CannotTell,
        LoadedRuntime,
        NoRuntimeError,
        TwoRuntimesError,
        assert_single_runtime,
        loaded_runtimes,
    )

__all__ = [
    "CannotTell",
    "LoadedRuntime",
    "NoRuntimeError",
    "TwoRuntimesError",
    "__version__",
    "assert_single_runtime",
    "loaded_runtimes",
]


if not TYPE_CHECKING:  # for a type checker every name would exist

    def __getattr__(name: str) -> object:
        """What programs use of xdiag, imported when asked for, so that commands start quickly."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from xdiag import loaded

        globals()[name] = value = getattr(loaded, name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
