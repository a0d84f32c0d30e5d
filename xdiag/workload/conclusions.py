"""What follows from the runs: summaries, and comparisons in words that the intervals support."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from xdiag.workload import estimates
from xdiag.workload.arrangements import ARRANGEMENTS, DRIVERS
from xdiag.workload.model import Statement, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xdiag.workload.model import Estimate, Run

#: Ratios up to this, and down to its inverse, are no difference that anybody would act on.
ALIKE = 1.1

_PERCENTS: tuple[tuple[Literal["P50", "P99"], float], ...] = (("P50", 50), ("P99", 99))
#: Drivers that are compared, and what differs between them.
_DRIVERS: tuple[tuple[Literal["threads", "executor", "mixed"], str, str], ...] = (
    ("threads", "python-script", "cpp"),
    ("executor", "python", "python-script"),
    ("mixed", "python", "cpp"),
)
#: Arrangements that are compared.
_SHARING = (
    ("baseline", "single-high"),
    ("priority", "baseline"),
    ("xsched", "baseline"),
    ("xsched-shim", "baseline"),
)


def summaries(runs: Sequence[Run]) -> tuple[Summary, ...]:
    """The runs put together, in the order of the catalogues."""
    places = {(run.arrangement, run.driver) for run in runs}
    ordered = [(a.id, d.id) for a in ARRANGEMENTS for d in DRIVERS if (a.id, d.id) in places]
    return tuple(_summary(*place, [r for r in runs if _place(r) == place]) for place in ordered)


def _summary(arrangement: str, driver: str, runs: Sequence[Run]) -> Summary:
    measured = [run for run in runs if run.measured]

    def over_runs(percent: float) -> Estimate | None:
        return estimates.mean(
            [estimates.percentile(run.latencies, percent) for run in measured if run.latencies]
        )

    return Summary(
        arrangement=arrangement,
        driver=driver,
        measured=len(measured),
        runs=len(runs),
        p50=over_runs(50),
        p90=over_runs(90),
        p99=over_runs(99),
        served_rate=estimates.mean([r.served_rate for r in measured if r.served_rate is not None]),
        batch_rate=estimates.mean([r.batch_rate for r in measured if r.batch_rate is not None]),
        unserved=sum(run.unserved for run in measured),
        failures=dict(Counter(failure(run) for run in runs if run.ending != "ok")),
    )


def failure(run: Run) -> str:
    """How a run ended that did not end well, with its last line."""
    how = {
        "exit": f"exit status {run.status}" if run.status else "failed",
        "crash": f"killed by signal {run.status}",
        "hang": "hung",
        "not-started": "not started",
        "ok": "",
    }[run.ending]
    after = " after its measurement" if run.measured and run.ending != "ok" else ""
    return f"{how}{after}: {run.said}" if run.said else f"{how}{after}"


def statements(runs: Sequence[Run]) -> tuple[Statement, ...]:
    """Drivers against each other, then arrangements, for the median and for P99."""
    found: list[Statement] = []
    arrangements = [each.id for each in ARRANGEMENTS if "high" in each.workers]
    for about, a, b in _DRIVERS:
        for place in arrangements:
            found += _compared(about, place, a, b, _of(runs, place, a), _of(runs, place, b))
    for driver in DRIVERS:
        for a, b in _SHARING:
            of_a, of_b = _of(runs, a, driver.id), _of(runs, b, driver.id)
            found += _compared("sharing", driver.id, a, b, of_a, of_b)
    return tuple(found)


def answer(found: Sequence[Statement], device: Literal["cpu", "gpu"]) -> str:
    """Whether Python's threads are to blame, in one sentence; empty where nothing was compared.

    Decided by the drivers that run the same TorchScript, so that threads are all that differs;
    where these were not both run, by the modules against C++, and said so.  A figure that differs
    alone among several is called a hint: of many intervals one in twenty misses the truth.
    """
    same = [each for each in found if each.about == "threads"]
    decisive = same or [each for each in found if each.about == "mixed"]
    if not decisive:
        return ""
    if same:
        told = _told(decisive, "Python threads", "pthreads")
    else:
        one, other = "Python threads with modules", "pthreads with TorchScript"
        told = (
            f"{_told(decisive, one, other)}; the executor differs, too, so that nothing is told of"
            " threads alone"
        )
    on = "; measured on a CPU, which says nothing about a GPU" if device == "cpu" else ""
    return f"{told}{on}."


def _told(compared: Sequence[Statement], one: str, other: str) -> str:
    """In how many of the compared figures ``one`` differs from ``other``, and in which."""
    of = f"of {len(compared)} compared figures"
    more, less, open_ = (_verdicts(compared, each) for each in ("more", "less", "not-told"))
    if more and less:
        told = (
            f"{one} are slower than {other} in {len(more)} {of}, {_named(more)},"
            f" and faster in {len(less)}, {_named(less)}"
        )
        both_alone = len(more) == len(less) == 1
        return f"{told}: each stands alone, take it for a hint" if both_alone else told
    if less and not more and not open_:
        return f"{one} are not to blame: nowhere slower, faster in {len(less)} {of}, {_named(less)}"
    if differing := more or less:
        than = f"{'slower' if more else 'faster'} than {other}"
        if len(differing) == 1 < len(compared):
            return (
                f"{one} are {than} in only 1 {of}, {_named(differing)}:"
                " it stands alone, take it for a hint"
            )
        return f"{one} are {than} in {len(differing)} {of}: {_named(differing)}"
    if not open_:
        return f"{one} are not to blame: less than 10 % from {other} in all {of}"
    return (
        f"Whether {one} are to blame is not told: a difference was seen in none {of},"
        f" and it stays open in {_named(open_)}"
    )


def _verdicts(found: Iterable[Statement], verdict: str) -> list[Statement]:
    return [each for each in found if each.verdict == verdict]


def _named(found: Iterable[Statement]) -> str:
    """The figures, with their ratios."""
    return ", ".join(
        f"{each.quantity} of {each.arrangement} ({each.ratio.value:.3g} times)"
        if each.ratio is not None
        else f"{each.quantity} of {each.arrangement}"
        for each in found
    )


def _of(runs: Iterable[Run], arrangement: str, driver: str) -> dict[int, Run]:
    """Runs with latencies, by repeat."""
    wanted = (arrangement, driver)
    return {run.repeat: run for run in runs if _place(run) == wanted and run.latencies}


def _place(run: Run) -> tuple[str, str]:
    return run.arrangement, run.driver


def _compared(
    about: Literal["threads", "executor", "mixed", "sharing"],
    within: str,
    a: str,
    b: str,
    of_a: dict[int, Run],
    of_b: dict[int, Run],
) -> Iterator[Statement]:
    """Two sets of runs against each other; nothing where one of them was not measured."""
    pairs = [(of_a[repeat], of_b[repeat]) for repeat in sorted(of_a.keys() & of_b.keys())]
    if not pairs:
        return
    for quantity, percent in _PERCENTS:
        values = [
            (estimates.percentile(x.latencies, percent), estimates.percentile(y.latencies, percent))
            for x, y in pairs
        ]
        ratio = estimates.ratio(values)
        sides = ((a, of_a), (b, of_b))
        late = [name for name, of in sides if any(run.unserved for run in of.values())]
        verdict, because = _verdict(ratio, late)
        text = f"{within}: {quantity} of {a} against {b}: {because}"
        yield Statement(about, quantity, within, a, b, ratio, verdict, text)


def _verdict(
    ratio: Estimate | None, late: Sequence[str]
) -> tuple[Literal["more", "less", "alike", "not-told"], str]:
    if late:
        return "not-told", f"not told: {' and '.join(late)} left requests unserved"
    if ratio is None:
        return "not-told", "not told: latencies of zero"
    if ratio.low is None or ratio.high is None:
        return "not-told", f"not told: {ratio.value:.3g} times, from one run (see --repeats)"
    reach = f"{ratio.value:.3g} times ({ratio.low:.3g} to {ratio.high:.3g})"
    if ratio.low >= 1 / ALIKE and ratio.high <= ALIKE:
        return "alike", f"alike, {reach}: less than 10 % apart"
    if ratio.low > 1:
        return "more", f"higher, {reach}"
    if ratio.high < 1:
        return "less", f"lower, {reach}"
    return "not-told", f"not told: {reach}, the interval includes 1"
