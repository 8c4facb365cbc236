"""Which file system a path is on. Locks and shared memory of a network one prove nothing between hosts."""

from __future__ import annotations

import os

TABLE = "/proc/self/mountinfo"  # Linux only; elsewhere nothing is known, and nothing refused
NETWORK = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs afs 9p ceph lustre gpfs beegfs glusterfs ocfs2 gfs2 coda ncpfs acfs pvfs2"
    " orangefs davfs".split()
)
LOCAL_FUSE = frozenset("fuseblk fuse.ntfs-3g fuse.exfat fuse.mergerfs fuse.fuse-overlayfs fuse.lxcfs".split())
_KNOWN: dict[tuple[str, int], str] = {}  # by table and device: a process asks the kernel once


def file_system(path: str) -> str:
    """The type of the file system that `path`, or the nearest folder above it, is on; "" where it cannot be told."""
    try:
        while not os.path.lexists(path):
            path = os.path.dirname(path) or "."
        key = (TABLE, os.stat(path).st_dev)
        if key not in _KNOWN:
            with open(TABLE, "rb", buffering=0) as file:
                _KNOWN[key] = _longest(os.fsdecode(file.readall()), os.path.realpath(path))
    except OSError:
        return ""
    return _KNOWN[key]


def is_network(kind: str) -> bool:
    """Whether it may be shared with other hosts. What runs in user space and is not known to be local may be."""
    return kind in NETWORK or (kind.startswith("fuse") and kind not in LOCAL_FUSE)


def _longest(table: str, path: str) -> str:
    """The type of the last mount on the longest mount point above `path`."""
    best, kind = "", ""
    for row in table.splitlines():
        fields, _, rest = row.partition(" - ")
        point = _plain(fields.split(" ")[4]) if fields.count(" ") > 4 else ""
        if f"{path}/".startswith(f"{point.rstrip('/')}/") and point and len(point) >= len(best):
            best, kind = point, rest.partition(" ")[0]
    return kind


def _plain(point: str) -> str:
    """Without the octal escapes of space, tab, newline and backslash."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, char)
    return point
