"""What differs between GPU platforms: names, errors, special handles, how a story is told."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xdiag.model import Hypothesis, NotApplicable, Prediction, Step, Story

    #: What a use step becomes.
    Expand = Callable[[Step], "tuple[Step, ...] | NotApplicable"]


@dataclass(frozen=True)
class Startup:
    """The calls by which a runtime is asked whether it has a device; names as it exports them."""

    init: str
    version: str
    count: str
    #: Calls that write the first device's name to a buffer's beginning, in order, each with what
    #: is passed after the buffer.
    name: tuple[tuple[str, tuple[int, ...]], ...]
    #: The version as people write it, from the number that the runtime tells.
    written: Callable[[int], str]


@dataclass(frozen=True)
class XSched:
    """What is called differently in XSched's build for each platform.

    Source: XpuOS/xsched, platforms/CMakeLists.txt (the libraries), protocol/def.h (the variable),
    platforms/{hip,cuda}/hal/include (the call), platforms/{hip,cuda}/python (the binding).
    """

    #: The library that calls the runtime, and the one that stands in for it.
    hal: str
    shim: str
    #: The variable that names the runtime to open.
    variable: str
    #: The HAL's call that takes a stream: an entry of ``cffi_build/hal_calls.h``.
    create: str
    #: The Python binding: its module, class and function.
    binding: tuple[str, str, str]
    #: The one before June 2026; None where there was none.
    old_binding: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Platform:
    """Facts about one platform that the engine and the reports need."""

    id: Literal["hip", "cuda"]
    #: Its name in a sentence.
    title: str
    #: What stands before a call's name: StreamGetFlags is hipStreamGetFlags.
    prefix: str
    #: The error that is called "context is destroyed".
    refusal: int
    #: Errors that say that the handle cannot be used here, ``refusal`` among them.
    refusals: tuple[int, ...]
    #: Names that a story may use for values, besides those that it makes.
    constants: dict[str, int]
    #: How the library's file is called, and the export that proves it is one.
    library: str
    proof: str
    startup: Startup
    xsched: XSched
    #: What an error says on this platform, as a sentence, where the code alone tells.
    says: Mapping[int, str] = field(default_factory=dict)
    #: What the reader of every report on this platform has to know, in sentences.
    notes: tuple[str, ...] = ()
    #: Child processes that a cell may cost: a call that crashes is left out in the next.
    processes: int = 8
    #: Seconds that a cell may stay silent at least, however soon a pattern could be given up
    #: elsewhere.
    patience: float = 0.0
    #: Whether the software agent can stand in for its GPU.
    software: bool = False
    #: Whether packages bring the library along; else it comes with the GPU's driver only.
    packaged: bool = False
    #: The kernel driver's device, without which there is no GPU.
    device: str = ""
    #: Variables that hide devices, and so may hide all of them.
    hiding: tuple[str, ...] = ()
    #: Explanations of the fault here, and what they expect: pattern -> hypothesis -> prediction.
    #: None where they are those of ``xdiag.hypotheses`` and ``Pattern.predicts``.
    hypotheses: tuple[Hypothesis, ...] | None = None
    predicts: Mapping[str, dict[str, Prediction]] | None = None
    #: Stories that are sound elsewhere, and against this platform's rules.
    unsound: frozenset[str] = frozenset()
    #: Consumers that are no evidence for or against a hypothesis here.
    unweighed: frozenset[str] = frozenset()
    #: A story, which is told in HIP's words, in this platform's; by the pattern's id.
    retold: Callable[[str, Story], Story] | None = None
    #: What consumers do here, by their ids; None where it is what ``xdiag.consumers`` says.
    uses: Mapping[str, Expand] | None = None


#: Platforms that are built in, and the modules that know them.
_MODULES = {"hip": "xdiag.platforms.hip", "cuda": "xdiag.platforms.cuda"}


def names() -> tuple[str, ...]:
    """The platforms that are built in."""
    return tuple(_MODULES)


def get(name: str) -> Platform:
    """The platform called ``name``; raises KeyError for one that is not built in."""
    platform: Platform = importlib.import_module(_MODULES[name]).PLATFORM
    return platform
