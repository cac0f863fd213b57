"""``--dataset`` values are read as people write them, and printed so that they read the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfhood.data.spec import DatasetSpec
from selfhood.errors import FlagError


def parse(text: str, *files: str) -> DatasetSpec:
    return DatasetSpec.parse(text, exists=files.__contains__)


def test_an_id_with_a_row_count() -> None:
    spec = parse("AI-ModelScope/alpaca-gpt4-data-zh#500")
    assert spec == DatasetSpec(id="AI-ModelScope/alpaca-gpt4-data-zh", num_rows=500)


def test_hub_subset_and_row_count_together() -> None:
    spec = parse("hf::me/rows:zh/en#7")
    assert spec == DatasetSpec(id="me/rows", hub="HF", subset="zh/en", num_rows=7)


@pytest.mark.parametrize("name", ["a#1.json", "a:b.json", "MS/a#9", "x#0"])
def test_a_file_of_that_name_comes_before_the_grammar(name: str) -> None:
    assert parse(name, name) == DatasetSpec(id=name)
    assert parse(f"{name}#3", name) == DatasetSpec(id=name, num_rows=3)


def test_a_windows_path_has_no_subset() -> None:
    assert parse("C:\\data\\a.json#5") == DatasetSpec(id="C:\\data\\a.json", num_rows=5)


@pytest.mark.parametrize("text", ["a#0", "a#x", "a#-1", "a#1.5", "a#", "a#²"])
def test_what_stands_after_the_hash_is_a_whole_number_above_zero(text: str) -> None:
    with pytest.raises(FlagError, match="after # comes the number of rows"):
        parse(text)


names = st.text("abcXYZ019-_.中", min_size=1)
specs = st.builds(
    DatasetSpec,
    id=st.builds("/".join, st.lists(names, min_size=1, max_size=3)),
    hub=st.sampled_from([None, "HF", "MS"]),
    subset=st.none() | names,
    num_rows=st.none() | st.integers(1, 10**9),
)


@given(specs)
def test_what_is_printed_reads_the_same(spec: DatasetSpec) -> None:
    assert parse(str(spec)) == spec
