"""Who and where this is, from files and variables as other machines have them."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from xdiag.discover.root import Root
from xdiag.report.identity import of_this_machine
from xdiag.report.masking import Masker


def _machine(folder: Path, **files: str) -> Root:
    for name, text in files.items():
        path = folder / "etc" / name.replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Root(folder)


def test_people_of_the_machine(tmp_path: Path) -> None:
    root = _machine(
        tmp_path,
        passwd="root:x:0:0:root:/root:/bin/bash\n"
        "_apt:x:100:65534::/nonexistent:/usr/sbin/nologin\n"
        "qzalice:x:1000:1000:Alice Qzliddell,,,:/home/qzalice:/bin/bash\n"
        "qzbob:x:1001:1001:builds:/data/people/qzb:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        "broken line\n",
    )
    known = of_this_machine({}, root=root)
    assert ("user", "qzalice") in known
    assert ("user", "Alice Qzliddell") in known
    assert ("user", "qzbob") in known and ("home", "/data/people/qzb") in known
    assert ("user", "builds") not in known
    assert not [each for each in known if each[1] in ("/root", "/nonexistent", "nobody", "_apt")]


def test_hosts_and_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "qzgpu17.hpc.qzlab.example")
    root = _machine(
        tmp_path,
        hostname="qzgpu17\n",
        hosts="127.0.0.1 localhost\n127.0.1.1 qzgpu17.hpc.qzlab.example qzgpu17 qzalias\n"
        "10.0.0.9 other\n",
        resolv_conf="search qzlab.example cluster.local\nnameserver 10.0.0.1\n",
    )
    known = of_this_machine({}, root=root)
    assert ("host", "qzgpu17") in known and ("host", "qzalias") in known
    assert ("domain", "hpc.qzlab.example") in known and ("domain", "qzlab.example") in known
    assert ("domain", "cluster.local") not in known
    masker = Masker(known)
    assert masker.text("qzgpu17 QZGPU17.hpc.qzlab.example x.qzlab.example localhost") == (
        "<host-1> <host-2> <host-3> localhost"
    )


def test_variables_with_names_and_secrets() -> None:
    known = of_this_machine(
        {
            "USER": "qzalice", "HOME": "/scratch/qz/alice", "SUDO_USER": "qzbob",
            "SLURM_JOB_ACCOUNT": "qzproject", "MY_TOKEN": "qzsecret1",
            "DB_PASSWORD": "qz two words", "XDG_SESSION_TYPE": "wayland",
            "SSH_AUTH_SOCK": "/tmp/agent.1", "LANG": "C.UTF-8",
            "PROXY": "http://qzproxy:qzpass9@10.0.0.1:3128",
        }
    )  # fmt: skip
    for each in (
        ("user", "qzalice"), ("home", "/scratch/qz/alice"), ("user", "qzbob"),
        ("account", "qzproject"), ("secret", "qzsecret1"), ("secret", "qz two words"),
    ):  # fmt: skip
        assert each in known
    assert not [value for _, value in known if value in ("wayland", "/tmp/agent.1", "C.UTF-8")]
    masker = Masker(known)
    assert "qz two words" not in masker.text("it said: qz two words")


def test_who_runs_this_and_owners_of_files(tmp_path: Path) -> None:
    mine = pwd.getpwuid(os.getuid()).pw_name
    assert ("user", mine) in of_this_machine({})
    if os.getuid() == 0:
        other = next(each for each in pwd.getpwall() if each.pw_uid not in (0, 65534))
        file = tmp_path / "x"
        file.write_text("")
        os.chown(file, other.pw_uid, -1)
        assert ("user", other.pw_name) in of_this_machine({}, [str(file)])
    of_this_machine({}, ["/nowhere", "a\0b", ""])


@pytest.mark.parametrize(
    "home", ["/", "/root", "/tmp", "/nonexistent", "/var/lib/x", "", "relative"]
)
def test_homes_that_are_nobodys(home: str) -> None:
    before = of_this_machine({})
    assert [each for each in of_this_machine({"HOME": home}) if each not in before] == []
