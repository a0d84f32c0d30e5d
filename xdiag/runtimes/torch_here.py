"""Whether xdiag's own Python has torch, in which the cells run that need it."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, TypeVar

from xdiag.discover import torch
from xdiag.discover.root import Root
from xdiag.torch_consumer import ENVIRONMENT, RUNTIME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdiag.model import Consumer, Pattern, Result

    Entry = TypeVar("Entry", Pattern, Consumer)


def folder() -> str:
    """The directory of the package torch that an import here would get, empty without one."""
    found = importlib.util.find_spec("torch")
    return os.path.dirname(found.origin) if found is not None and found.origin else ""


def unfit(platform: str) -> str:
    """Why nothing of torch's can be told on a platform, in one line; empty where it can."""
    place = folder()
    if not place:
        return f"torch is not installed in xdiag's Python ({sys.executable})"
    found = torch.read(place, Root("/"))
    if found.problem:
        return ""  # what is wrong with it is told when it is imported
    return torch.unfit(found.version, {"hip": found.hip, "cuda": found.cuda}, platform)


def tellable(entries: Iterable[Entry], platform: str) -> list[Entry]:
    """The patterns or consumers that can be told here: those of torch only where it fits."""
    needs = ENVIRONMENT.items()
    fits = not unfit(platform)
    return [each for each in entries if fits or not needs <= each.environment.items()]


def took_part() -> str:
    """A sentence for the head of a report: which torch did what steps say torch does."""
    place = folder()
    if not place:
        return ""
    found = torch.read(place, Root("/"))
    return f"PyTorch took part where a step says torch: {found.version}, in {place}."


def brought(result: Result) -> str:
    """A sentence for the head of a report: which copy of the runtime torch brought along."""
    return (
        f"torch uses another copy of the runtime, {result.outcome.runtimes[RUNTIME].path}: where it"
        " is the consumer, streams of the one under test are strange to it."
    )


def left_out(platform: str) -> str:
    """A sentence for the head of a report that ``tellable`` has left something out; else empty."""
    reason = unfit(platform)
    if not reason:
        return ""
    return f"Patterns of PyTorch's streams and the consumer torch were left out: {reason}."
