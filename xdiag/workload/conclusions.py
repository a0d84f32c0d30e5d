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
_DRIVERS: tuple[tuple[Literal["threads", "executor"], str, str], ...] = (
    ("threads", "python-script", "cpp"),
    ("threads", "python", "cpp"),
    ("executor", "python", "python-script"),
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


def answer(found: Sequence[Statement]) -> str:
    """Whether Python's threads are to blame, in one sentence; empty where nothing was compared.

    Decided by the drivers that run the same TorchScript, so that threads are all that differs;
    where these were not both run, by the modules against C++, and said so.
    """
    threads = [each for each in found if each.about == "threads"]
    same = [each for each in threads if each.a == "python-script"]
    decisive = same or threads
    if not decisive:
        return ""
    by = "" if same else " (with the model as Python modules: the executor differs, too)"
    more, less = (_named(decisive, verdict) for verdict in ("more", "less"))
    if more:
        told = f"Python threads are slower than pthreads{by}: {more}"
        return f"{told}; but faster: {less}." if less else f"{told}."
    if less:
        return f"Python threads are not to blame{by}: where they differ they are faster, {less}."
    if all(each.verdict == "alike" for each in decisive):
        return f"Python threads are not to blame{by}: less than 10 % from pthreads everywhere."
    open_ = _named(decisive, "not-told")
    return f"Whether Python threads are to blame is not told{by}: intervals overlap in {open_}."


def _named(found: Sequence[Statement], verdict: str) -> str:
    """Where the verdict is this, with the ratios."""
    return ", ".join(
        f"{each.quantity} of {each.arrangement} ({each.ratio.value:.3g} times)"
        if each.ratio is not None
        else f"{each.quantity} of {each.arrangement}"
        for each in found
        if each.verdict == verdict
    )


def _of(runs: Iterable[Run], arrangement: str, driver: str) -> dict[int, Run]:
    """Runs with latencies, by repeat."""
    wanted = (arrangement, driver)
    return {run.repeat: run for run in runs if _place(run) == wanted and run.latencies}


def _place(run: Run) -> tuple[str, str]:
    return run.arrangement, run.driver


def _compared(
    about: Literal["threads", "executor", "sharing"],
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
