"""Patterns x fixes x consumers, made into cells that are ready to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from xdiag import platforms
from xdiag.model import Cell, NotApplicable, Story, parse_step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdiag.model import Consumer, Fix, Pattern, Step

#: Seconds a cell may stay silent, unless the user or the pattern says otherwise.
DEFAULT_TIMEOUT = 10.0


def cell_id(pattern: str, fix: str, consumer: str) -> str:
    """The name of a cell, as reports and ``--resume`` use it."""
    return f"{pattern}/{fix}/{consumer}"


def story_of(pattern: Pattern, actor: str = "python") -> Story:
    """A pattern's steps; ``actor`` "native" makes its threads native pthreads."""

    def read(line: str) -> Step:
        step = parse_step(line)
        if actor == "native" and step.verb in ("thread", "thread_pool"):
            return msgspec.structs.replace(step, verb="native_thread")
        return step

    return Story(
        setup=tuple(read(line) for line in pattern.setup),
        use=tuple(msgspec.structs.replace(read(line), phase="use") for line in pattern.use),
        environment=pattern.environment,
    )


def _expanded(
    story: Story, consumer: Consumer, facts: platforms.Platform
) -> tuple[Step, ...] | NotApplicable:
    """The story with every use replaced by what the consumer does on a platform."""
    expand = consumer.expand if facts.uses is None else facts.uses.get(consumer.id)
    if expand is None:
        return NotApplicable(reason=f"the consumer {consumer.id} is not told on {facts.title}")
    steps: list[Step] = list(story.setup)
    for step in story.use:
        if step.verb != "use":
            steps.append(step)
            continue
        calls = expand(step)
        if isinstance(calls, NotApplicable):
            return calls
        steps.extend(calls)
    return tuple(steps)


def _steps(
    pattern: Pattern,
    fix: Fix,
    consumer: Consumer,
    facts: platforms.Platform,
    actor: str,
    first_consumer: bool,
) -> tuple[tuple[Step, ...], Story] | NotApplicable:
    story = story_of(pattern, actor)
    if not first_consumer and not any(step.verb == "use" for step in story.use):
        return NotApplicable(reason="no stream is used in this pattern, so every consumer is alike")
    if fix.consumers and consumer.id not in fix.consumers:
        return NotApplicable(
            reason=f"concerns the consumer {' and '.join(fix.consumers)} only: where {consumer.id}"
            " takes a context, if it does, is not for the fix to say"
        )
    rewritten = fix.rewrite(story)
    if isinstance(rewritten, NotApplicable):
        return rewritten
    if facts.retold is not None:
        rewritten = facts.retold(pattern.id, rewritten)
    steps = _expanded(rewritten, consumer, facts)
    if isinstance(steps, NotApplicable):
        return steps
    return steps, rewritten


def plan(
    patterns: Iterable[Pattern],
    fixes: Iterable[Fix],
    consumers: Iterable[Consumer],
    *,
    platform: str = "hip",
    actor: str = "python",
    timeout: float | None = None,
) -> list[Cell]:
    """Every combination as a cell, in the order of the catalogues.

    ``timeout`` in seconds overrides the patterns' own patience.  Combinations that make no sense
    come too, with ``not_applicable`` set, so that a report can say why they are empty.
    """
    patterns, fixes, facts = list(patterns), list(fixes), platforms.get(platform)
    cells = []
    for position, consumer in enumerate(consumers):
        for pattern in patterns:
            for fix in fixes:
                made = (
                    _steps(pattern, fix, consumer, facts, actor, position == 0)
                    if platform in pattern.platforms
                    else NotApplicable(reason=f"not told on {facts.title}")
                )
                cell = Cell(
                    id=cell_id(pattern.id, fix.id, consumer.id),
                    pattern=pattern.id,
                    fix=fix.id,
                    consumer=consumer.id,
                    platform=platform,
                    devices=pattern.devices,
                    timeout=timeout or max(pattern.patience or DEFAULT_TIMEOUT, facts.patience),
                )
                if isinstance(made, NotApplicable):
                    cell = msgspec.structs.replace(cell, not_applicable=made.reason)
                else:
                    steps, story = made
                    environment = {**consumer.environment, **story.environment}
                    cell = msgspec.structs.replace(cell, steps=steps, environment=environment)
                cells.append(cell)
    return cells
