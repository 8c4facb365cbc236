"""One line of configuration to one store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holter.backends.errors import HolterError, StorageError, UnknownBackend
from holter.backends.file import FileBackend
from holter.backends.memory import MemoryBackend
from holter.backends.sqlite import SqliteBackend
from holter.backends.urls import open_backend, path_of, redacted


@pytest.mark.parametrize(
    ("url", "kind", "made"),
    [
        ("sqlite:///holter.db", SqliteBackend, "home/holter.db"),
        ("sqlite:///deep/er/holter.db", SqliteBackend, "home/deep/er/holter.db"),
        ("sqlite:///{tmp}/abs.db", SqliteBackend, "abs.db"),
        ("file:///store", FileBackend, "home/store/format.json"),
        ("file:///{tmp}/abs", FileBackend, "abs/format.json"),
        ("memory:", MemoryBackend, None),
        ("memory:named", MemoryBackend, None),
    ],
)
def test_a_url_opens_its_store_at_home_or_at_an_absolute_path(
    tmp_path: Path, url: str, kind: type, made: str | None
) -> None:
    store = open_backend(url.format(tmp=tmp_path), str(tmp_path / "home"))
    store.close()
    assert isinstance(store, kind)
    assert store.url == url.format(tmp=tmp_path)
    assert made is None or (tmp_path / made).exists()


def test_a_relative_path_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_backend("sqlite:///x.db", str(tmp_path / "home")).close()
    assert os.listdir(tmp_path) == ["home"]


@pytest.mark.parametrize("url", ["oracle://db", "sqlit:///x.db", "", "just-a-name", "://"])
def test_an_unknown_scheme_is_refused_with_those_that_are_known(url: str) -> None:
    with pytest.raises(
        UnknownBackend,
        match=r"known schemes: file, http, https, memory, off, .*sqlite.*for example sqlite:///holter.db",
    ):
        open_backend(url, "/nowhere")


@pytest.mark.parametrize(
    "url", ["sqlite:", "sqlite://", "sqlite:///", "file:////", "file:store", "sqlite://holter.db"]
)
def test_a_url_without_a_path_is_refused_with_both_ways_to_write_one(url: str) -> None:
    with pytest.raises(UnknownBackend, match=r":///name .* HOLTER_HOME or .*:////absolute/path"):
        open_backend(url, "/nowhere")


def test_errors_are_also_the_builtin_errors_of_their_meaning() -> None:
    assert issubclass(UnknownBackend, ValueError)
    assert issubclass(StorageError, OSError)
    assert issubclass(StorageError, HolterError)


def test_a_place_that_cannot_be_opened_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for url in ("sqlite:///file/x.db", "file:///file/x", "file:///file"):
        with pytest.raises(StorageError, match="file"):
            open_backend(url, str(tmp_path))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///holter.db", "sqlite:///holter.db"),
        ("postgresql://ann:s3cret@db/holter", "postgresql://ann:***@db/holter"),
        ("postgresql://ann:@db/holter", "postgresql://ann:***@db/holter"),
        ("postgresql://ann:s3/cr@et@db/holter?schema=a@b", "postgresql://ann:***@db/holter?schema=a@b"),
        ("postgresql://ann:s3?cret@db/holter", "postgresql://ann:***@db/holter"),
        ("mine://host/x?token=abc&n=1&api_key=z", "mine://host/x?token=***&n=1&api_key=***"),
        ("mine://host/x?a=1&Password=p%20q", "mine://host/x?a=1&Password=***"),
        ("mine://ann@host/x", "mine://ann@host/x"),
        ("https://token@host:8400/x/?cafile=/ca.pem", "https://host:8400/x"),
        ("http://:token@localhost/#x", "http://localhost"),
    ],
)
def test_secrets_in_a_url_are_blanked(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_an_error_about_a_url_does_not_show_its_password() -> None:
    with pytest.raises(UnknownBackend) as caught:
        open_backend("oracle://ann:s3cret@db", "/nowhere")
    assert "s3cret" not in str(caught.value)


def test_a_path_is_relative_after_three_slashes_and_absolute_after_four() -> None:
    assert path_of("sqlite:///a/b.db", "/home") == "/home/a/b.db"
    assert path_of("sqlite:////a/b.db", "/home") == "/a/b.db"
