"""What bytes an image had when it was embedded, from the metadata of the job."""

from pathlib import Path

import pyarrow as pa
import pytest

from shared.errors import CorruptFile
from shared.job.partition.sealing import METADATA_SCHEMA
from shared.storage import parquet
from tests.support.make_job import make_job
from workers.search.cascade.facts import Fact, Facts

DIGEST = "0123456789abcdef" * 4


def metadata(path: Path, ids: list[int], digest: str | None) -> Path:
    rows = [
        {"id": one, "image_path": f"{one}.jpg", "width": one + 10, "height": None, "bytes": 9, "sha256": digest}
        for one in ids
    ]
    with parquet.writer(path, METADATA_SCHEMA) as into:
        into.write_table(pa.Table.from_pylist(rows, METADATA_SCHEMA))
    return path


def test_an_image_is_found_in_the_file_that_has_its_row(tmp_path: Path) -> None:
    files = [metadata(tmp_path / "a", [0, 3, 7], DIGEST), metadata(tmp_path / "b", [8, 20], None)]
    facts = Facts(files)
    assert facts.of(3) == Fact(DIGEST, 13, None)
    assert facts.of(7) == Fact(DIGEST, 17, None)
    assert facts.of(20) == Fact(None, 30, None), "of imported vectors nobody knows their images' bytes"
    files[0].unlink()
    assert facts.of(0) == Fact(DIGEST, 10, None), "a file is read once"


@pytest.mark.parametrize("image_id", [1, 9, 21])
def test_an_image_without_a_row_is_a_sentence(tmp_path: Path, image_id: int) -> None:
    facts = Facts([metadata(tmp_path / "a", [0, 3, 7], DIGEST), metadata(tmp_path / "b", [8, 20], None)])
    with pytest.raises(CorruptFile, match=f"no row of the image {image_id}"):
        facts.of(image_id)
    with pytest.raises(CorruptFile, match="no row of the image 5"):
        Facts([]).of(5)


def test_a_damaged_file_is_a_sentence_and_others_are_read(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", listed=50, partition_size=25)
    paths = [made.job.metadata(number) for number in (0, 1)]
    facts = Facts(paths)
    assert facts.of(30) == Fact(None, 8, 8)
    paths[0].write_bytes(paths[0].read_bytes()[:-20])
    with pytest.raises(CorruptFile, match="metadata_0000"):
        facts.of(3)
    assert facts.of(31) == Fact(None, 8, 8)
