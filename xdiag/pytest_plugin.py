"""A pytest plugin: the session fails if two copies of a GPU runtime came into the test process.

``pytest --single-runtime``, or ``single_runtime = true`` in pytest's configuration; with
``--single-runtime-of=FAMILY,...`` for other families than libamdhip64.  Without any of them it
looks at nothing and imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

#: Under which a worker of pytest-xdist hands over what it found.
_OUTPUT = "xdiag_two_runtimes"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option and its counterpart in the configuration."""
    group = parser.getgroup("xdiag")
    group.addoption(
        "--single-runtime",
        action="store_true",
        default=None,
        help="fail if two copies of libamdhip64 are loaded into the test process, and say during"
        " which test the second came",
    )
    group.addoption(
        "--single-runtime-of",
        metavar="FAMILY,...",
        help="the same for these libraries, such as libamdhip64,librccl",
    )
    parser.addini(
        "single_runtime", "as --single-runtime: one copy of libamdhip64", type="bool", default=False
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to watch, if that is wanted."""
    families = config.getoption("single_runtime_of")
    flag = config.getoption("single_runtime")
    if families is None and not flag and not config.getini("single_runtime"):
        return
    option = "--single-runtime" if families is None else "--single-runtime-of"
    from xdiag import loaded

    try:
        names = families.split(",") if families is not None else loaded.DEFAULT_FAMILIES
        watch = _Watch(config, loaded.known_families(names))
        loaded.loaded_runtimes(watch.families)  # where that cannot be told, now is the time to say
        watch.look("before the tests were collected, by a plugin or a conftest.py")
    except ValueError as error:
        raise pytest.UsageError(f"{option}: {error}") from None
    except loaded.CannotTell as error:
        raise pytest.UsageError(f"{option}: {error}") from None
    config.pluginmanager.register(watch, "xdiag-single-runtime")


class _Watch:
    """Looks after every step of a session, until there are two copies."""

    def __init__(self, config: pytest.Config, families: tuple[str, ...]) -> None:
        self.config = config
        self.families = families
        #: What was found, in this process and in xdist's workers: (when, what).
        self.found: list[tuple[str, str]] = []
        #: Why the last look saw nothing: no descriptor was free, say.
        self.blind = ""

    def look(self, when: str) -> None:
        """Look for a second copy, unless one was found before."""
        from xdiag import loaded

        if self.found:
            return
        try:
            loaded.assert_single_runtime(self.families)
            self.blind = ""
        except loaded.CannotTell as error:
            self.blind = str(error)
        except loaded.TwoRuntimesError as error:
            # The process will be gone when this is read: nothing to inspect.
            self.found.append((when, loaded.describe(error.copies)))

    def pytest_report_header(self) -> str:
        return f"single runtime: {', '.join(self.families)}"

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, None, None]:
        yield
        self.look(f"while {collector.nodeid or 'the tests'} was collected")

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, None, None]:
        yield
        self.look(f"during {item.nodeid}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker of pytest-xdist found; nothing, if it crashed."""
        output = getattr(node, "workeroutput", None) or {}
        name = node.gateway.id
        self.found += [(f"{when} (worker {name})", what) for when, what in output.get(_OUTPUT, ())]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.found:
            self.look("after the last test")
        if self.blind:
            self.found.append(("unseen, if at all", self.blind))
        if not self.found:
            return
        if hasattr(self.config, "workeroutput"):
            # xdist passes on text that is no UTF-8 as little as a terminal shows it.
            self.config.workeroutput[_OUTPUT] = [
                [text.encode(errors="backslashreplace").decode() for text in pair]
                for pair in self.found
            ]
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.found:
            return
        terminalreporter.section("more than one GPU runtime", red=True, bold=True)
        for when, what in self.found:
            terminalreporter.line(f"The second copy came {when}.")
            terminalreporter.line(what)
        terminalreporter.line(
            "Who brought in each of them: stop there, and run xdiag inspect with the process's id."
        )
