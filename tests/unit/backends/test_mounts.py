"""Which file system a path is on, and what SQLite and `holter doctor` make of a network one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holter.agent.watchdog.doctor import examine
from holter.backends import mounts
from holter.backends.errors import StorageError
from holter.backends.mounts import file_system, is_network
from holter.backends.urls import open_backend
from holter.testing.tapes import Tape, ids

ROW = "{number} 1 0:{number} / {point} rw,relatime shared:1 - {kind} source rw\n"


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the kernel's table says to be NFS, with a local one mounted inside."""
    rows = [
        ("/", "ext4"),
        ("/var", "tmpfs"),
        (tmp_path / "share", "nfs4"),
        (tmp_path / "share/in side", "xfs"),
    ]
    (table := tmp_path / "mountinfo").write_text(
        "".join(
            ROW.format(number=20 + n, point=str(point).replace(" ", "\\040"), kind=kind)
            for n, (point, kind) in enumerate(rows)
        )
    )
    (tmp_path / "share" / "in side").mkdir(parents=True)
    monkeypatch.setattr(mounts, "TABLE", str(table))
    monkeypatch.setattr(mounts, "_KNOWN", {})
    return tmp_path / "share"


def kind_of(path: Path) -> str:
    mounts._KNOWN.clear()  # all these folders are on one device in truth
    return file_system(str(path))


def test_the_longest_mount_point_above_a_path_counts(mounted: Path) -> None:
    assert kind_of(mounted) == "nfs4"
    assert kind_of(mounted / "not" / "there" / "yet") == "nfs4"
    assert kind_of(mounted / "in side" / "holter.db") == "xfs"
    assert kind_of(mounted.parent / "shared") != "nfs4"
    assert kind_of(Path("/usr")) == "ext4"


def test_a_link_is_followed_to_where_it_leads(mounted: Path) -> None:
    (link := mounted.parent / "link").symlink_to(mounted)
    assert kind_of(link) == "nfs4"


def test_without_a_table_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mounts, "TABLE", "/nowhere")
    assert file_system(str(tmp_path)) == ""
    assert not is_network("")


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        ("nfs", 1),
        ("cifs", 1),
        ("smb3", 1),
        ("9p", 1),
        ("lustre", 1),
        ("gpfs", 1),
        ("ceph", 1),
        ("fuse.sshfs", 1),
        ("fuse.rclone", 1),
        ("ext4", 0),
        ("xfs", 0),
        ("btrfs", 0),
        ("overlay", 0),
        ("tmpfs", 0),
        ("fuseblk", 0),
    ],
)
def test_what_may_be_shared_with_other_hosts(kind: str, network: int) -> None:
    assert is_network(kind) == bool(network)


def test_sqlite_refuses_a_network_file_system_and_says_what_to_use(mounted: Path) -> None:
    mounts._KNOWN.clear()
    with pytest.raises(StorageError, match=r"network file system \(nfs4\).*postgresql.*force=true"):
        open_backend(f"sqlite:///{mounted}/holter.db", "/")
    assert os.listdir(mounted) == ["in side"]


@pytest.mark.parametrize("url", ["sqlite:///{}/holter.db?force=true", "file:///{}/records"])
def test_forced_sqlite_and_the_file_store_work_there(mounted: Path, url: str) -> None:
    mounts._KNOWN.clear()
    store = open_backend(url.format(mounted), "/")
    Tape().ran("r1").send(store)
    assert ids(store) == ["r1"]
    store.close()
    assert "holter.db" in os.listdir(mounted) or "records" in os.listdir(mounted)


def test_doctor_names_it(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = mounted.parent / "home"
    home.mkdir(0o700)
    monkeypatch.setenv("HOLTER_HOME", str(home))
    monkeypatch.setenv("HOLTER_BACKEND", f"file:///{mounted}/records")
    monkeypatch.setattr(mounts, "_KNOWN", {(mounts.TABLE, os.stat(mounted).st_dev): "nfs4"})
    said = [each for each in examine() if each.about == "file system" and each.level == "warn"]
    assert any("records is on a network file system (nfs4)" in each.detail for each in said)


CAN_MOUNT = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not CAN_MOUNT, reason="mounting is for root only")
def test_a_real_mount_is_seen(tmp_path: Path) -> None:
    look = f"import holter.backends.mounts as m; print(m.file_system({str(tmp_path)!r}))"
    script = f'mount -t ramfs none "{tmp_path}" && exec "{sys.executable}" -c "$0"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, look], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.strip() == "ramfs"
