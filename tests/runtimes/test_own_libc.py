"""Runtimes that came with a C library: when it is used, and how a version finds them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from runtimes.conftest import fake_runtime
from xdiag.errors import CannotRun, Usage
from xdiag.runtimes import agent, choose, entries, find, own_libc, probe

if TYPE_CHECKING:
    from xdiag.model import Loader


def entry(cache: Path, version: str, needs: str, name: str = "libamdhip64.so.6") -> entries.Entry:
    """An entry of the cache whose runtime is a fake one, with a C library that is none."""
    folder = cache / "runtimes" / entries.name_of("libamdhip64-6", version)
    fake_runtime(folder / "lib", name=name)
    (folder / "libc").mkdir()
    (folder / "libc" / "ld.so").write_text("a loader")
    manifest = {
        "manifest_version": entries.MANIFEST_VERSION, "package": "libamdhip64-6",
        "version": version, "runtime": f"lib/{name}", "library_dirs": ["lib"], "packages": [],
        "fetched": "2026-01-01T00:00:00+00:00", "loader": "libc/ld.so", "libc": "9.9",
        "libc_dirs": ["libc"], "needs_libc": needs,
    }  # fmt: skip
    (folder / entries.MANIFEST).write_bytes(msgspec.json.encode(manifest))
    made = entries.read(folder)
    assert isinstance(made, entries.Entry)
    return made


def loader(of: entries.Entry) -> Loader | None:
    return own_libc.loader_for(find.from_option(of.runtime))


def test_the_fetched_c_library_is_used_where_the_machines_is_too_old(empty_machine: Path) -> None:
    newer = entry(empty_machine, "6.9.1-1", needs="99.1")
    found = loader(newer)
    assert found is not None
    assert (found.path, found.library_path, found.libc) == (newer.loader, newer.libc_dirs, "9.9")
    assert loader(entry(empty_machine, "6.1.1-1", needs="2.2.5")) is None


def test_a_machine_without_glibc_has_no_use_for_another_loader(
    empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = entry(empty_machine, "6.9.1-1", needs="99.1")
    monkeypatch.setattr(own_libc, "machines_libc", lambda: "")
    assert loader(newer) is None


def test_this_machines_c_library_is_told_by_its_version() -> None:
    import platform

    assert own_libc.machines_libc() == platform.libc_ver()[1]


def with_hashes(of: entries.Entry) -> Path:
    """Give an entry the hashes of its files; returns the runtime's file."""
    folder = Path(of.path)
    paths = [each for each in folder.rglob("*") if each.is_file() and each.suffix != ".json"]
    files = tuple(entries.file_of(folder, each) for each in paths)
    manifest = msgspec.structs.replace(of.manifest, files=files)
    (folder / entries.MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return Path(of.runtime)


def test_a_runtime_of_another_cache_has_its_own_loader(
    empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = entry(empty_machine, "6.9.1-1", needs="99.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert entries.every() == ()
    found = loader(newer)
    assert found is not None and found.path == newer.loader
    assert find.from_option(newer.runtime).library_dirs == newer.library_dirs


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """What runtimes were asked, and under which loader; all of them answer."""
    asked: list[tuple[str, object]] = []

    def ask(runtime: str, *, loader: object = None, **_: object) -> probe.Answer:
        asked.append((Path(runtime).parent.parent.name, loader))
        return probe.Answer(
            loaded=True, devices=2, device_name="x", version="6.0.0", hsa=(str(agent.library()),)
        )

    monkeypatch.setattr(probe, "ask", ask)
    return asked


def test_what_the_machine_can_load_comes_first(
    empty_machine: Path, fake_agent: Path, no_gpu: None, answers: list[tuple[str, object]]
) -> None:
    newer = entry(empty_machine, "6.9.1-1", needs="99.1")
    plain = entry(empty_machine, "6.1.1-1", needs="2.2.5")
    assert choose.choose().runtime == plain.runtime
    assert choose.choose("6.9").runtime == newer.runtime
    assert [under is not None for _, under in answers] == [False, True]
    target = choose.choose("6.9.1-1")
    assert target.loader is not None and target.loader.path == newer.loader
    assert "under the loader of glibc 9.9" in target.notes[-1]


def test_a_version_is_a_beginning_at_a_dot(
    empty_machine: Path, fake_agent: Path, no_gpu: None, answers: list[tuple[str, object]]
) -> None:
    entry(empty_machine, "6.10.0-1", needs="2.2.5")
    one = entry(empty_machine, "6.1.1-1", needs="2.2.5")
    assert choose.choose("6.1").runtime == one.runtime
    with pytest.raises(CannotRun, match=r"HIP 6.2 is not here .*`xdiag runtimes add 6.2`"):
        choose.choose("6.2")


@pytest.mark.parametrize("by", ["version", "path", "link"])
@pytest.mark.parametrize("harm", ["time", "byte"])
def test_a_damaged_runtime_is_refused_by_version_and_by_path(
    by: str, harm: str, empty_machine: Path, fake_agent: Path, no_gpu: None, tmp_path: Path,
    answers: list[tuple[str, object]],
) -> None:  # fmt: skip
    made = entry(empty_machine, "6.9.1-1", needs="99.1")
    runtime = with_hashes(made)
    (tmp_path / "link.so").symlink_to(runtime)
    named = {"version": "6.9", "path": str(runtime), "link": str(tmp_path / "link.so")}[by]
    assert choose.choose(named).runtime == str(runtime)
    answers.clear()
    status = runtime.stat()
    data = bytearray(runtime.read_bytes())
    data[-1] ^= 1
    runtime.write_bytes(data)
    if harm == "byte":  # behind the same size and time
        os.utime(runtime, ns=(status.st_atime_ns, status.st_mtime_ns))
    told = r"lib/libamdhip64\.so\.6 (has changed since it was|is not what was) fetched; mended by:"
    with pytest.raises(CannotRun, match=f"not used: .*{told} xdiag runtimes add 6.9.1-1"):
        choose.choose(named)
    with pytest.raises(CannotRun, match=f"not used: .*{told}"):
        choose.choose()
    assert answers == []  # it was not even loaded


def test_a_file_that_is_called_like_a_version_is_a_file(
    empty_machine: Path, no_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7.2").write_text("no library")
    with pytest.raises(Usage, match=r"/7\.2: "):
        choose.choose("7.2")


def test_an_executable_stack_is_allowed_where_glibc_asks_for_it(
    empty_machine: Path, fake_agent: Path, no_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry(empty_machine, "6.1.1-1", needs="2.2.5")
    good = probe.Answer(loaded=True, devices=2, version="6.0", hsa=(str(agent.library()),))

    def ask(
        runtime: str, *, environment: dict[str, str] | None = None, **_: object
    ) -> probe.Answer:
        if "execstack=2" in (environment or {}).get("GLIBC_TUNABLES", ""):
            return good
        return probe.Answer(problem=f"it does not load: {runtime}: cannot enable executable stack")

    monkeypatch.setattr(probe, "ask", ask)
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    target = choose.choose()
    assert target.environment["GLIBC_TUNABLES"] == "glibc.malloc.check=0:glibc.rtld.execstack=2"
    assert "executable stack" in target.notes[-1]
