r"""How a file store looks on disk, for us and for `jq`, `grep` and `rsync`.

    format.json                             which format this is
    runs/2026/11/23/<root id>.jsonl         the events of one root run and its descendants, appended in chunks
    journals/2026/11/23/<journal id>.json   what is known of one journal's process, and how far it was applied
    registry/<kind>/<key>.json              one document of the Registry
    pruned.json                             the highest seqs that ever were, where retention removed some
    intent                                  which batch is being written (there for a millisecond, or after a kill)
    lock, index.db*                         the write lock; the index, which may be deleted at any time

A chunk of a run file is the header of the journal's process (in the first chunk of that journal), the sealed lines of
one batch as they came, and one commit line:

    {"event":"commit","journal":J,"from":a,"to":b,"at":t,"bytes":n,"logs":[seq,...],"transitions":[{...}],"c":"..."}

The JSON files end in a checksum `c`, too; one without it is taken as it is. Of a run file, only lines among the `bytes`
before a commit line count. `logs` are the seqs of the log lines, in order.
"""

from __future__ import annotations

import os
from json import dumps, loads
from time import gmtime, strftime

from .clock import time_of
from .errors import StorageError
from .lines import decode, encode, seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Json = dict[str, Any]
    Lines = list[tuple[int, Json | None]]

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_NAME_LIMIT = 200  # characters of a file name; file systems allow 255 bytes
_SEAL = len(b',"c":"01234567"}\n')
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def run_file(root_id: str) -> str:
    return f"runs/{_day(root_id)}/{escaped(root_id)}.jsonl"


def journal_file(journal: str) -> str:
    return f"journals/{_day(journal)}/{escaped(journal)}.json"


def document_file(kind: str, key: str) -> str:
    return f"registry/{escaped(kind)}/{escaped(key)}.json"


def escaped(name: str) -> str:
    """A file name for any text, different for different texts even where case does not count; a long one ends in a
    hash instead."""
    quoted = "".join(
        char if char in _PLAIN else "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
        for char in name
    )
    if not quoted or quoted[0] == ".":
        quoted = f"%2e{quoted[1:]}" if quoted else "%"
    if len(quoted) <= _NAME_LIMIT:
        return quoted
    from hashlib import sha256  # such names are rare, and a job does not pay for them

    return f"{quoted[: _NAME_LIMIT - 33]}~{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _day(identifier: str) -> str:
    """The folder of an id: the day that it carries itself, so that nobody has to look it up."""
    at = time_of(identifier)
    return "undated" if at is None else strftime("%Y/%m/%d", gmtime(at))


# --- chunks --------------------------------------------------------------------------------------------------


def chunk(header: Json | None, lines: list[bytes], commit: Json) -> bytes:
    """The bytes to append to a run file: header, lines, and the commit line, whose `bytes` is filled in."""
    opening = encode({"event": "process", **header}) if header else b""
    body = opening + b"".join(lines)
    return body + encode({"event": "commit", **commit, "bytes": len(body)})


def chunks(data: bytes) -> Iterator[tuple[int, int, Json, Lines]]:
    """Each committed chunk of a run file as (start, end, commit, lines); `lines` are `(position, event or None)`."""
    since: Lines = []
    for position, event in decode(data):
        if event is None or event["event"] != "commit":
            since.append((position, event))
            continue
        start = position - event["bytes"]
        yield start, line_end(data, position), event, [line for line in since if line[0] >= start]
        since = []


def line_end(data: bytes, position: int) -> int:
    """Where the line that starts at `position` ends, behind its newline."""
    return data.index(b"\n", position) + 1


def without_lines(data: bytes, before: float) -> bytes:
    """A run file without the log lines whose time is before `before`; how many they were is still in it."""
    out, done = [], 0
    for start, end, commit, lines in chunks(data):
        kept, logs = [], []
        gone: dict[str, list[float]] = {}
        seqs = iter(commit["logs"])
        for position, event in lines:
            seq = next(seqs, None) if event is not None and event["event"] == "log" else None
            if event is not None and seq is not None and event["at"] < before:
                gone.setdefault(event["run"], []).append(event["at"])
                continue
            kept.append(data[position : line_end(data, position)])
            if seq is not None:
                logs.append(seq)
        for run, times in gone.items():
            kept.append(encode({"event": "forgot", "run": run, "at": max(times), "lines": len(times)}))
        plain = {key: value for key, value in commit.items() if key not in ("event", "bytes", "c")}
        out += [data[done:start], chunk(None, kept, {**plain, "logs": logs})]
        done = end
    return b"".join((*out, data[done:]))


# --- files ---------------------------------------------------------------------------------------------------


def make_folder(path: str) -> None:
    """The folder and those above it, mode 0700; one that is there keeps its mode."""
    if not os.path.isdir(path):
        make_folder(os.path.dirname(path) or ".")
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not os.path.isdir(path):
                raise


def read(path: str, most: int = -1) -> bytes:
    """All of a file, or its first bytes, `most` of them; b"" where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return b""
    with open(fd, "rb") as file:
        return file.read(most)


def read_json(path: str) -> Json | None:
    """The object in a file; None where there is none, or it is damaged."""
    return unsealed(read(path))


def unsealed(data: bytes) -> Json | None:
    """The object that `replace` wrote; None for what it did not. One without a checksum is of an earlier version, or
    written by hand."""
    try:
        found = loads(data or b"null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    checksum = found.pop("c", None)
    return found if checksum is None or seal(data[:-_SEAL]) == data else None


def extend(path: str, data: bytes) -> None:
    """Append in one write. A line that was torn by a copy is closed first, so that it costs no other."""
    fd = _opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            data = b"\n" + data
        _write(fd, data)
    finally:
        os.close(fd)


def size_of(path: str) -> int:
    """Bytes in a file; 0 where there is none."""
    try:
        return os.stat(path, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def cut(path: str, size: int) -> None:
    """Take back what was appended beyond `size`; a file that had nothing before goes."""
    if size == 0:
        remove(path)
    elif size_of(path) > size:
        os.truncate(path, size)


def replace(path: str, value: Json | bytes) -> None:
    """The whole file at once, by rename. The caller holds the write lock."""
    data = value if isinstance(value, bytes) else seal(dumps(value)[:-1].encode()) if value else b"{}\n"
    draft = f"{os.path.dirname(path)}/.draft"
    put(draft, data)
    os.replace(draft, path)


def put(path: str, data: bytes) -> None:
    """The whole file, but torn for whoever looks at the wrong moment, or after a kill."""
    fd = _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        _write(fd, data)
    finally:
        os.close(fd)


def remove(path: str) -> bool:
    """Whether there was such a file; now there is none."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def remove_last(path: str) -> None:
    """The same, and its folder with it where it becomes empty."""
    remove(path)
    try:
        os.removedirs(os.path.dirname(path))
    except OSError:  # there are others
        return


def _opened(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | _FLAGS, 0o600)
    except FileNotFoundError:
        make_folder(os.path.dirname(path))
        return os.open(path, flags | _FLAGS, 0o600)


def _write(fd: int, data: bytes) -> None:
    """All of it, or an error: a full disk shows as a short write first."""
    view = memoryview(data)
    while view:
        written = os.write(fd, view)
        if written == 0:
            raise StorageError("nothing could be written")
        view = view[written:]
