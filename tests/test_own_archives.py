"""A person's own archives: the same data as the folder they were made of, and nothing that is out to do harm."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from own_files import encoded, pixels, put, read_unchanged, shown_size, two_classes

from tamis.own import archive as own_archive
from tamis.own.reading import read
from tamis.types import TamisError

PNG = encoded(pixels(0))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where archives are unpacked; whatever happened, nothing may stay there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir()), "an archive's files stay behind"


@pytest.mark.parametrize("form", ["zip", "tar", "gztar", "bztar", "xztar"])
def test_an_archive_is_the_folder_it_was_made_of(tmp_path: Path, temporary: Path, form: str) -> None:
    put(two_classes(tmp_path / "data") / "cat" / "broken.png", b"?")
    folder = read(tmp_path / "data")
    flat = shutil.make_archive(str(tmp_path / "flat"), form, tmp_path / "data")
    nested = shutil.make_archive(str(tmp_path / "nested"), form, tmp_path, "data")
    for path in (flat, nested):
        own = read_unchanged(Path(path))
        assert own.digest == folder.digest
        assert own.sources == folder.sources
        assert own.skipped == folder.skipped
        assert torch.equal(own.data.x, folder.data.x)
        assert len(list(temporary.iterdir())) == 1
        assert own.shown.picture(0) == folder.shown.picture(0)
        shown = own.shown
        del own
        assert shown_size(shown.picture(0)) == (12, 12), "the files stay as long as pictures can be asked for"
        del shown
        assert not list(temporary.iterdir())


def test_tables_arrays_and_data_sets_in_archives(tmp_path: Path, temporary: Path) -> None:
    frame = pl.DataFrame({"a": [1.0, 4.0, 2.0, 9.0], "label": [0, 1, 0, 1]})
    content: dict[str, dict[str, bytes]] = {"csv": {"t.csv": frame.write_csv().encode()}, "npz": {}, "hub": {}}
    out = io.BytesIO()
    np.savez(out, x=frame["a"].to_numpy()[:, None], y=frame["label"].to_numpy())
    content["npz"]["set/a.npz"] = out.getvalue()
    out = io.BytesIO()
    frame.write_ipc_stream(out)
    features = {"label": {"_type": "ClassLabel", "names": ["u", "v"]}}
    content["hub"] = {
        "s/data.arrow": out.getvalue(),
        "s/dataset_info.json": json.dumps({"features": features}).encode(),
    }
    content["hub"]["s/state.json"] = b'{"_data_files": [{"filename": "data.arrow"}]}'
    found = []
    for name, files in content.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for path, data in files.items():
                archive.writestr(path, data)
        found.append(read_unchanged(tmp_path / f"{name}.zip", label="label" if name == "csv" else None))
        assert not list(temporary.iterdir()), "what is in memory needs no files"
    assert all(torch.allclose(own.data.x, found[0].data.x) for own in found)
    assert [own.names for own in found] == [("0", "1"), ("0", "1"), ("u", "v")]
    assert found[0].shown.cells(3) == (("a", "9.0"),)


@pytest.mark.parametrize(
    "name", ["../evil.png", "/evil.png", "cat/../../evil.png", "..\\evil.png", "C:\\evil.png", "\\\\host\\evil.png"]
)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, form: str, name: str) -> None:
    path = tmp_path / f"a.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("cat/0.png", PNG)
            archive.writestr(name, PNG)
    else:
        with tarfile.open(path, "w") as tar:
            for member in ("cat/0.png", name):
                info = tarfile.TarInfo(member)
                info.size = len(PNG)
                tar.addfile(info, io.BytesIO(PNG))
    with pytest.raises(TamisError, match=r"leaves its folder; it is not unpacked|holds the absolute path"):
        read_unchanged(path)
    assert not list(tmp_path.rglob("*evil*"))


def test_links_and_devices_are_named_and_never_made(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret.png", PNG)
    shutil.make_archive(str(tmp_path / "a"), "tar", two_classes(tmp_path / "data"))
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(f"cat/{name}.png")
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
    own = read_unchanged(tmp_path / "a.tar")
    assert dict(own.skipped) == {
        "cat/soft.png": "is a link",
        "cat/hard.png": "is a link",
        "cat/pipe.png": "is no regular file",
    }
    shutil.make_archive(str(tmp_path / "b"), "zip", tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "b.zip", "a") as archive:
        link = zipfile.ZipInfo("cat/soft.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(secret))
    assert read_unchanged(tmp_path / "b.zip").skipped == (("cat/soft.png", "is a link"),)


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_a_bomb_is_refused_before_it_has_gone_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """20 MB of zeros in 20 kB: refused when 2 MB of it have been written."""
    path, zeros = tmp_path / f"a.{form}", bytes(20_000_000)
    if form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("cat/0.png", zeros)
    else:
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("cat/0.png")
            info.size = len(zeros)
            tar.addfile(info, io.BytesIO(zeros))
    assert path.stat().st_size < 30_000
    monkeypatch.setattr(own_archive, "_HARMLESS", 2_000_000)
    with pytest.raises(TamisError, match=r"unpacks to more than 4|unpacks to more than 2"):
        read_unchanged(path)
    monkeypatch.setattr(own_archive, "MOST_BYTES", 1_000_000)
    with pytest.raises(TamisError, match="unpacks to more than 1 MiB"):
        read_unchanged(path)


def test_a_name_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    put(tmp_path / "a.tar", info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(TamisError, match=r"cannot be unpacked \(a header is too long"):
        read_unchanged(tmp_path / "a.tar")


def test_more_members_than_any_data_set_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.make_archive(str(tmp_path / "a"), "zip", two_classes(tmp_path / "data"))
    monkeypatch.setattr(own_archive, "MOST_MEMBERS", 5)
    with pytest.raises(TamisError, match="holds more than 5 files"):
        read_unchanged(tmp_path / "a.zip")


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.make_archive(str(tmp_path / "a"), "zip", two_classes(tmp_path / "data"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(TamisError, match="or the free space do not warrant"):
        read_unchanged(tmp_path / "a.zip")


def test_damaged_archives_are_one_sentence(tmp_path: Path) -> None:
    for name, form in (("a.zip", "zip"), ("a.tar", "tar"), ("a.tar.gz", "gztar"), ("a.tar.xz", "xztar")):
        shutil.make_archive(str(tmp_path / "a"), form, two_classes(tmp_path / "data"))
        whole = (tmp_path / name).read_bytes()
        third = len(whole) // 3
        for content in (b"", b"?" * 2000, whole[:third], whole[: 2 * third] + bytes(99) + whole[2 * third + 99 :]):
            put(tmp_path / "b" / name, content)
            if name == "a.tar" and len(content) == len(whole):
                continue  # a tar file has no sums; a picture damaged in it is named like any other
            with pytest.raises(TamisError, match=r"cannot be unpacked \(|is empty"):
                read_unchanged(tmp_path / "b" / name)


def test_a_damaged_tar_is_not_taken_for_a_shorter_one(tmp_path: Path) -> None:
    """Python's own reader ends in silence at a damaged header, and never looks at the checksum of what was packed."""
    whole = Path(shutil.make_archive(str(tmp_path / "a"), "tar", two_classes(tmp_path / "data"))).read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        last = tar.getmembers()[-1]
    damaged = whole[: last.offset] + b"?" * 512 + whole[last.offset + 512 :]
    for name, content in (
        ("header.tar", damaged),
        ("header.tar.gz", gzip.compress(damaged)),
        ("end.tar", whole[: last.offset]),
        ("sum.tar.gz", gzip.compress(whole)[:-8] + bytes(8)),
    ):
        with pytest.raises(TamisError, match=r"cannot be unpacked \("):
            read_unchanged(put(tmp_path / "damaged" / name, content))


def test_twice_the_same_name_and_a_locked_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/0.png", PNG)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("cat/0.png", PNG)
    with pytest.raises(TamisError, match=r'holds "cat/0\.png" twice'):
        read_unchanged(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("cat", PNG)
        archive.writestr("cat/0.png", PNG)
    with pytest.raises(TamisError, match="cannot be unpacked"):
        read_unchanged(tmp_path / "b.zip")
    shutil.make_archive(str(tmp_path / "c"), "zip", two_classes(tmp_path / "data"))
    content = bytearray((tmp_path / "c.zip").read_bytes())
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := content.find(sign, start)) >= 0:
            content[start + at] |= 1  # "this member is encrypted"
            start += 4
    with pytest.raises(TamisError, match=r"cannot be unpacked \(.*encrypted"):
        read_unchanged(put(tmp_path / "c.zip", bytes(content)))


def test_what_is_refused_in_a_folder_is_refused_in_an_archive(tmp_path: Path) -> None:
    put(tmp_path / "data" / "cat" / "0.png", PNG)
    path = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "data"))
    with pytest.raises(TamisError, match=r'a\.zip: every example is of the class "cat"'):
        read_unchanged(path)
    with pytest.raises(TamisError, match="a folder of pictures, has none"):
        read_unchanged(path, label="x")
