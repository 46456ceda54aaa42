"""Examples for few-shot learners, uploaded over HTTP, on both databases."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.db.session import Store
from app.db.tables import Artefact, Upload
from app.main import create_app
from app.settings import Settings
from tests.api.fewshot import DATASETS, FewShot, clusters, count, npz


def test_a_dataset_is_uploaded_listed_and_deleted(few: FewShot) -> None:
    made = few.upload()
    assert (made["kind"], made["examples"], made["classes"], made["shape"]) == ("classification", 96, 12, [4])
    assert few.upload(status=200) == made
    assert few.upload(status=409, content=npz(**clusters(seed=2)))["code"] == "dataset-differs"
    assert few.call("GET", DATASETS, status=200)["items"] == [made]
    assert few.call("GET", f"{DATASETS}/clusters", status=200) == made
    few.call("DELETE", f"{DATASETS}/clusters", status=204)
    assert few.call("GET", f"{DATASETS}/clusters", status=404)["code"] == "dataset-not-found"
    assert (count(few.store, Upload), count(few.store, Artefact)) == (0, 0)


def bomb() -> bytes:
    """A megabyte that says it is 64 gigabytes of zeros."""
    buffer = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**34,)})
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(2**20))
        archive.writestr("y.npy", npz(a=np.arange(3))[:100])
    return buffer.getvalue()


def swelling() -> bytes:
    """An array that goes on long after its header says it ends."""
    buffer, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (4, 2)})
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(2**24))
        archive.writestr("y.npy", b"")
    return buffer.getvalue()


good = clusters()
not_finite = good["x"].copy()
not_finite[7, 1] = np.nan
BAD: dict[str, tuple[bytes, str, str]] = {
    "objects": (npz(x=good["x"], y=good["y"].astype(object)), "/y", "objects"),
    "a bomb": (bomb(), "/x", "unpacked"),
    "one that swells": (swelling(), "/x", "more"),
    "one class": (npz(x=good["x"], y=np.zeros(96, int)), "/y", "1 classes"),
    "nan": (npz(x=not_finite, y=good["y"]), "/x", "row 7"),
    "lengths": (npz(x=good["x"], y=good["y"][:-1]), "/y", "96 examples and y 95"),
    "no y": (npz(x=good["x"]), "/y", "no array 'y'"),
    "words": (npz(x=good["x"].astype(str), y=good["y"]), "/x", "numbers"),
    "scarce": (npz(x=good["x"], y=np.arange(96)), "/y", "2 examples at least"),
    "scalars": (npz(x=good["x"][:, 0], y=good["y"]), "/x", "vectors"),
    "empty": (npz(x=good["x"][:0], y=good["y"][:0]), "/x", "no values"),
    "groups": (npz(x=good["x"], y=good["y"], group=np.zeros((96, 2))), "/group", "one value per example"),
    "a torn zip": (npz(**good)[:500], "/file", "unpacked"),
    "a pickle": (b"\x80\x04\x95\x00", "/file", "neither"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0", "/file", "cannot be read|UTF-8|y"),
    "nothing": (b"", "/y", "columns"),
    "csv, no y": (b"a,b\n1,2\n", "/y", "`y`"),
    "csv, words": (b"a,y\n1,2\nfoo,3\n", "/a", "line 3"),
    "csv, short": (b"a,b,y\n1,2\n", "/file", "line 2"),
    "csv, nan": (b"a,y\n1,1\nnan,1\n2,2\n3,2\n", "/x", "row 1"),
    "csv, header alone": (b"a,y\n", "/file", "no rows"),
    "csv, twice": (b"a,a,y\n1,2,3\n", "/file", "two columns"),
    "csv, latin": ("ä,y\n1,2\n".encode("latin-1"), "/file", "UTF-8"),
    "parquet, torn": (b"PAR1" + bytes(40), "/file", "parquet"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_dataset_is_refused_in_words_and_leaves_nothing(few: FewShot, case: str) -> None:
    content, pointer, words = BAD[case]
    body = few.upload(status=422, content=content)
    assert body["code"] == "invalid-dataset"
    assert body["errors"][0]["pointer"] == pointer, body
    assert any(word in body["detail"] for word in words.split("|")), body
    assert (count(few.store, Upload), count(few.store, Artefact)) == (0, 0)


def test_a_file_beyond_the_limit_is_refused_before_it_is_read(few: FewShot) -> None:
    headers = {"Content-Length": str(2 * 2**30), "Content-Type": "multipart/form-data; boundary=x"}
    response = few.client.post(DATASETS, content=b"--x", headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "too-large")
    assert count(few.store, Artefact) == 0


def test_a_file_that_goes_on_beyond_the_limit_is_refused_on_its_way(store: Store, database_url: str) -> None:
    """As curl sends what it reads from a pipe: nobody said how long it would be."""
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.npz"\r\n\r\nPK\x03\x04'
        for _ in range(100):
            sent += 2**12
            yield bytes(2**12)

    app = create_app(Settings(database=database_url, max_body_bytes=1024, max_artefact_bytes=2**14))
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        response = client.post(DATASETS, content=pieces(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "too-large")
    assert str(2**14 + 2**16) in response.json()["detail"]
    assert (count(store, Upload), count(store, Artefact)) == (0, 0)


def test_datasets_are_merged_and_split_by_name(few: FewShot) -> None:
    few.upload()
    few.upload("others", content=npz(**clusters(seed=3)))
    few.train(dataset=["clusters", "others"], split={"validation": ["others"]})
    assert few.run()["result"]["classes"] == {"train": 12, "validation": 12, "test": 0}
