"""The seal of a home: written out by hand to spare every script OpenSSL, and the same as the standard library's."""

from __future__ import annotations

import hmac
from json import dumps
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.host_seal import KEY, SEALED, _hash, is_sealed, seal_of

HEADERS = st.dictionaries(st.sampled_from([*SEALED, "seal", "python"]), st.text() | st.integers() | st.none())
HEADER = {"host": "web-1", "boot": "b", "pid": 7, "argv": ["python", "job.py"], "cwd": "/srv"}


@given(st.binary(min_size=32, max_size=32), HEADERS)
def test_it_is_the_hmac_of_the_standard_library(key: bytes, header: dict[str, object]) -> None:
    said = dumps([header.get(name) for name in SEALED]).encode()
    assert _hash(key, header) == hmac.new(key, said, "sha256").hexdigest()[:32]


def test_what_a_home_sealed_it_knows_again_until_something_of_it_changes(tmp_path: Path) -> None:
    sealed = {**HEADER, "seal": seal_of(str(tmp_path), HEADER)}
    assert is_sealed(str(tmp_path), sealed)
    assert is_sealed(str(tmp_path), {**sealed, "python": "3.13"})  # nothing that decides what is started
    for name in SEALED:
        assert not is_sealed(str(tmp_path), {**sealed, name: "other"})


def test_another_home_does_not_know_it(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir(), other.mkdir()
    sealed = {**HEADER, "seal": seal_of(str(one), HEADER)}
    assert not is_sealed(str(other), sealed)  # it has no key
    seal_of(str(other), HEADER)
    assert not is_sealed(str(other), sealed)


@pytest.mark.parametrize("seal", [None, 7, "", "é\udc80", "0" * 32])
def test_what_is_no_seal_is_none(tmp_path: Path, seal: object) -> None:
    seal_of(str(tmp_path), HEADER)
    assert not is_sealed(str(tmp_path), {**HEADER, "seal": seal})


def test_a_key_that_others_can_read_is_nobody_s(tmp_path: Path) -> None:
    sealed = {**HEADER, "seal": seal_of(str(tmp_path), HEADER)}
    key = tmp_path / KEY
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o640)
    assert not is_sealed(str(tmp_path), sealed)
    assert seal_of(str(tmp_path), HEADER) is None


def test_a_key_that_is_cut_off_or_a_link_is_none(tmp_path: Path) -> None:
    sealed = {**HEADER, "seal": seal_of(str(tmp_path), HEADER)}
    key = tmp_path / KEY
    whole = key.read_bytes()
    key.write_bytes(whole[:31])
    assert not is_sealed(str(tmp_path), sealed)
    (tmp_path / "elsewhere").write_bytes(whole)
    (tmp_path / "elsewhere").chmod(0o600)
    key.unlink()
    key.symlink_to("elsewhere")
    assert not is_sealed(str(tmp_path), sealed)
