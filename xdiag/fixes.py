"""The catalogue of fixes: rewrites of a story, as people have proposed them.

A rewrite takes a story (steps that set it up, steps that use the stream, variables that its process
is started with) and returns another, or says why it cannot be applied.  To add a fix, add an entry.
"""

from __future__ import annotations

import msgspec

from xdiag.model import Fix, NotApplicable, Step, Story, parse_step
from xdiag.torch_consumer import RUNTIME as TORCHS_RUNTIME

#: Values that are streams without having been made.
SPECIAL_HANDLES = ("NULL", "LEGACY", "PER_THREAD")
_MAKES_STREAM = (
    "StreamCreate", "StreamCreateWithFlags", "StreamCreateWithPriority", "torch_stream"
)  # fmt: skip
_DERIVES = ("low32", "low32_signed", "same", "torch_external")
_STARTS_THREAD = ("thread", "thread_pool")
_STARTS = (
    *_STARTS_THREAD,
    "native_thread",
    "fork",
    "process",
    "torch_autograd",
    "torch_dataloader",
)
#: What a runtime is named by in a story.
_OPENS = ("open", "torch")

_NO_USE = NotApplicable(reason="no stream is used in this pattern")


def _change(step: Step, **fields: object) -> Step:
    return msgspec.structs.replace(step, **fields)


def _uses(story: Story) -> list[Step]:
    return [step for step in story.use if step.verb == "use"]


def _before_use(story: Story, *lines: str) -> Story | NotApplicable:
    """Put steps before each use, by the user (``{user}``) and on its runtime (``{R}``)."""
    if not _uses(story):
        return _NO_USE
    use: list[Step] = []
    for step in story.use:
        if step.verb == "use":
            for line in lines:
                text = line.format(user=" & ".join(step.actors), R=step.args[0])
                use.append(_change(parse_step(text), phase="fix"))
        use.append(step)
    return _change_story(story, use=tuple(use))


def _change_story(story: Story, **fields: object) -> Story:
    return msgspec.structs.replace(story, **fields)


def _made(story: Story) -> tuple[int, Step] | None:
    """Where the used stream is made, following names that were derived from it."""
    uses = _uses(story)
    wanted = uses[0].args[1] if uses else None
    for index in range(len(story.setup) - 1, -1, -1):
        step = story.setup[index]
        if step.result and step.result == wanted:
            if step.verb in _MAKES_STREAM:
                return index, step
            if step.verb in _DERIVES and isinstance(step.args[0], str):
                wanted = step.args[0]
    return None


def _no_stream(story: Story) -> NotApplicable:
    uses = _uses(story)
    if not uses:
        return _NO_USE
    handle = uses[0].args[1]
    if handle in SPECIAL_HANDLES:
        return NotApplicable(reason=f"{handle} is not made by anyone")
    return NotApplicable(reason="the handle does not come from a stream")


def _none(story: Story) -> Story | NotApplicable:
    return story


def _primary_context_retain(story: Story) -> Story | NotApplicable:
    return _before_use(
        story,
        "{user}: primary = {R}.DevicePrimaryCtxRetain(0)",
        "{user}: {R}.CtxSetCurrent(primary)",
    )


def _set_current_context(story: Story) -> Story | NotApplicable:
    made = _made(story)
    if made is None:
        return _no_stream(story)
    index, creation = made
    runtime = creation.runtime or TORCHS_RUNTIME
    take = parse_step(f"{creation.actors[0]}: creators = {runtime}.CtxGetCurrent()")
    setup = (*story.setup[: index + 1], _change(take, phase="fix"), *story.setup[index + 1 :])
    return _before_use(_change_story(story, setup=setup), "{user}: {R}.CtxSetCurrent(creators)")


def _set_device(story: Story) -> Story | NotApplicable:
    return _before_use(story, "{user}: {R}.SetDevice(0)")


def _create_in_worker(story: Story) -> Story | NotApplicable:
    made = _made(story)
    if made is None:
        return _no_stream(story)
    index, creation = made
    user = _uses(story)[0].actors[-1]
    if user in creation.actors:
        return NotApplicable(reason="the thread that uses the stream already makes it itself")
    setup = list(story.setup)
    if user == "main":
        # The other way round: what matters is that maker and user are one.
        setup[index] = _change(creation, actors=(user,), phase="fix")
        return _change_story(story, setup=tuple(setup))
    begin = next(i for i, s in enumerate(setup) if s.verb in _STARTS and s.result == user)
    moved = _change(creation, actors=(user,), phase="fix")
    if begin > index:
        # The user has to exist first; everything else keeps its order.
        start = setup.pop(begin)
        setup.insert(index, start)
        index += 1
    setup[index] = moved
    return _change_story(story, setup=tuple(setup))


def _native_thread(story: Story) -> Story | NotApplicable:
    def natively(step: Step) -> Step:
        if step.verb in _STARTS_THREAD:
            return _change(step, verb="native_thread", phase="fix")
        return step

    rewritten = tuple(natively(step) for step in story.setup)
    if rewritten == story.setup:
        return NotApplicable(reason="no Python thread takes part")
    return _change_story(story, setup=rewritten)


def _lazy_context(story: Story) -> Story | NotApplicable:
    if not _uses(story):
        return _NO_USE
    use = tuple(
        _change(step, args=(*step.args, "lazy")) if step.verb == "use" else step
        for step in story.use
    )
    return _change_story(story, use=use)


def _recreate_stream(story: Story) -> Story | NotApplicable:
    made = _made(story)
    if made is None:
        return _no_stream(story)
    index, creation = made
    first = _uses(story)[0]
    if len(first.actors) > 1:
        return NotApplicable(reason="two threads use one stream; each would make its own")
    # What was derived from the first stream is derived again: a binding that cuts handles will
    # cut the new one too.
    derived = [s for s in story.setup[index + 1 :] if s.verb in _DERIVES]
    user, runtime = first.actors, str(first.args[0])
    if creation.verb == "torch_stream" and runtime != TORCHS_RUNTIME:
        creation = _change(creation, verb="StreamCreateWithFlags", args=(0,))
    elif creation.verb == "torch_stream":
        runtime = ""
    again = [
        _change(creation, actors=user, runtime=runtime, phase="fix"),
        *(_change(step, actors=user, phase="fix") for step in derived),
    ]
    at = story.use.index(first)
    return _change_story(story, use=(*story.use[:at], *again, *story.use[at:]))


def _full_width_handle(story: Story) -> Story | NotApplicable:
    if not any(step.verb in ("low32", "low32_signed") for step in story.setup):
        return NotApplicable(reason="the handle is passed at its full width")
    setup = tuple(
        _change(step, verb="same", phase="fix") if step.verb in ("low32", "low32_signed") else step
        for step in story.setup
    )
    return _change_story(story, setup=setup)


def _second_openings(story: Story) -> list[Step] | NotApplicable:
    """The steps that load a copy besides the first, without any fix."""
    opened = [step for step in story.setup if step.verb in _OPENS]
    if len(opened) < 2:
        return NotApplicable(reason="only one runtime is opened")
    # By its SONAME the loader finds a copy that is loaded; so it loads one only at first.
    another = [
        step
        for step in opened
        if step.verb == "open"
        and (step.args[0] in ("copy", "name") or (step.args[0] == "soname" and step is opened[0]))
    ]
    return another or NotApplicable(reason="the second opening already gives the loaded copy")


def _bind_loaded_runtime(story: Story) -> Story | NotApplicable:
    openings = _second_openings(story)
    if isinstance(openings, NotApplicable):
        return openings
    first = next(step for step in story.setup if step.verb in _OPENS)

    def bound(step: Step) -> Step:
        if step not in openings:
            return step
        # Where nothing is loaded yet, it takes the path of the copy that will be.
        args = ("first", *step.args[1:]) if step is first else ("loaded",)
        return _change(step, args=args, phase="fix")

    return _change_story(story, setup=tuple(bound(step) for step in story.setup))


def _started_with(story: Story, variables: dict[str, str]) -> Story | NotApplicable:
    """The story in a process that is started with these variables, where it opens two copies."""
    openings = _second_openings(story)
    if isinstance(openings, NotApplicable):
        return openings
    environment = dict(story.environment)
    for name, value in variables.items():
        # Lists, all of those that both may set.
        there = environment.get(name)
        environment[name] = f"{value}:{there}" if there else value
    return _change_story(story, environment=environment)


def _unify(story: Story) -> Story | NotApplicable:
    return _started_with(story, {"LD_AUDIT": "{audit}", "XDIAG_UNIFY": "libamdhip64"})


def _preload(story: Story) -> Story | NotApplicable:
    return _started_with(story, {"LD_PRELOAD": "{first}"})


def _path_order(story: Story) -> Story | NotApplicable:
    return _started_with(story, {"LD_LIBRARY_PATH": "{first_directory}"})


FIXES: tuple[Fix, ...] = (
    Fix(
        id="none",
        title="as it is",
        does="Leaves the story as it is.",
        origin="the baseline",
        rewrite=_none,
    ),
    Fix(
        id="primary-context-retain",
        title="retain the primary context and make it current",
        does="Before the use, the user calls DevicePrimaryCtxRetain(0) and CtxSetCurrent.",
        origin="the patch tried in the case; the right fix on CUDA",
        rewrite=_primary_context_retain,
    ),
    Fix(
        id="set-current-context",
        title="make the creator's context current",
        does="The creator's current context is taken when the stream is made, and set by the user"
        " before the use.",
        origin="common advice",
        rewrite=_set_current_context,
    ),
    Fix(
        id="set-device",
        title="set the device in the using thread",
        does="Before the use, the user calls SetDevice(0).",
        origin="common advice (torch.cuda.set_device)",
        rewrite=_set_device,
    ),
    Fix(
        id="create-in-worker",
        title="make the stream in the thread that uses it",
        does="Moves the making of the stream to the actor that uses it.",
        origin="plan 1 of the case",
        rewrite=_create_in_worker,
    ),
    Fix(
        id="native-thread",
        title="use a native thread instead of a Python thread",
        does="Replaces Python threads by pthreads that know nothing of Python.",
        origin="plan 2 of the case (rewrite in C++)",
        rewrite=_native_thread,
    ),
    Fix(
        id="lazy-context",
        title="fetch the context where it is used",
        does="XSched's queue takes the context on its own thread instead of the caller's.",
        origin="plan 3 of the case (OnXQueueCreate)",
        rewrite=_lazy_context,
        consumers=("replay",),
    ),
    Fix(
        id="recreate-stream",
        title="make a new stream right before the use",
        does="The user makes a new stream, on the runtime that it uses, right before the use.",
        origin="common advice",
        rewrite=_recreate_stream,
    ),
    Fix(
        id="full-width-handle",
        title="pass the handle at its full width",
        does="Replaces the cut to 32 bits by the value itself: argtypes declared, or c_void_p.",
        origin="the repair of the old Python binding",
        rewrite=_full_width_handle,
    ),
    Fix(
        id="bind-loaded-runtime",
        title="open the copy that is already loaded",
        does="The second opening takes the loaded copy's path (RTLD_NOLOAD finds it).",
        origin="what XSCHED_HIP_LIB=<loaded copy> does",
        rewrite=_bind_loaded_runtime,
    ),
    Fix(
        id="unify",
        title="let the loader answer with the copy that is loaded",
        does="Starts the process under xdiag's audit library: the loader answers every request for"
        " a second runtime with the copy that is loaded. A namespace of its own (dlmopen) is out of"
        " its reach.",
        origin="rtld-audit (man 7 rtld-audit), as xdiag run does it",
        rewrite=_unify,
    ),
    Fix(
        id="preload",
        title="preload the first copy",
        does="Starts the process with the first copy in LD_PRELOAD. A library that asks for the"
        " runtime by its SONAME gets that one; one that asks by path, or by the name without a"
        " version, gets its own.",
        origin="common advice (LD_PRELOAD)",
        rewrite=_preload,
    ),
    Fix(
        id="path-order",
        title="look in the first copy's directory first",
        does="Starts the process with the first copy's directory in front of LD_LIBRARY_PATH. It"
        " helps a library that asks by a name that this directory has; a path is not searched for.",
        origin="common advice (LD_LIBRARY_PATH)",
        rewrite=_path_order,
    ),
)
