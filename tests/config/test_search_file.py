"""The file of a search: one sky, lists that exist, paths relative to the file."""

import pytest

from legacylens.config.load import as_toml, record_from
from legacylens.config.search import SearchConfig, load_search
from legacylens.errors import ConfigurationError
from legacylens.search.examples import quickstart_config
from legacylens.search.steps import SearchPlan


def write(tmp_path, text):
    path = tmp_path / "search.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["", '[mock]\nsize = "tiny"\n[release]\npath = "."\n'])
def test_exactly_one_sky(tmp_path, text):
    with pytest.raises(ConfigurationError, match=r"either \[release\].*or \[mock\]"):
        load_search(write(tmp_path, text))


def test_absent_files_are_all_named_with_their_keys(tmp_path):
    text = '[release]\npath = "dr10"\n[known_lenses]\npublished = "lists"\nlists = ["a.csv", "b.csv"]\n'
    (tmp_path / "a.csv").write_text("ra,dec\n")
    with pytest.raises(ConfigurationError) as caught:
        load_search(write(tmp_path, text))
    text = str(caught.value)
    assert "3 problems" in text
    assert "release.path" in text
    assert "known_lenses.published" in text
    assert "known_lenses.lists.1" in text


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "dr10").mkdir()
    path = write(tmp_path, '[release]\npath = "dr10"\n')
    monkeypatch.chdir("/")
    assert load_search(path).release.path == str(tmp_path / "dr10")
    assert load_search(write(tmp_path, '[release]\npath = "https://x.example/dr10"\n')).release.path == (
        "https://x.example/dr10"
    )


def test_without_lenses_there_is_nothing_to_learn(tmp_path):
    (tmp_path / "dr10").mkdir()
    text = '[release]\npath = "dr10"\n[known_lenses]\nlenscat = false\n'
    with pytest.raises(ConfigurationError, match="nothing to train on"):
        load_search(write(tmp_path, text))


def test_the_resolved_configuration_is_the_same_search(tmp_path):
    config = quickstart_config(size="tiny", seed=5, workers=1)
    path = write(tmp_path, as_toml(config))
    assert load_search(path) == record_from(SearchConfig, config.model_dump(mode="json"), "itself")


def test_the_plan_is_the_same_whatever_the_workers(tmp_path):
    one, four = (SearchPlan(quickstart_config(size="tiny", seed=5, workers=n), tmp_path) for n in (1, 4))
    configurations = [[step.configuration for step in plan.steps()[:-1]] for plan in (one, four)]
    assert configurations[0] == configurations[1]
    assert [step.name for step in one.steps()] == one.names


def test_what_people_saw_is_an_input_of_the_samples(tmp_path):
    mock = '[mock]\nsize = "tiny"\n'
    path = write(tmp_path, f'{mock}[labels]\ncontaminants = "rings"\nverdicts = ["seen.csv"]\n')
    with pytest.raises(ConfigurationError) as caught:
        load_search(path)
    assert "labels.contaminants" in str(caught.value)
    assert "labels.verdicts.0" in str(caught.value)
    (tmp_path / "rings").mkdir()
    (tmp_path / "rings" / "contaminants.parquet").write_bytes(b"one")
    (tmp_path / "seen.csv").write_text("source_id,verdict\n")

    def inputs():
        plan = SearchPlan(load_search(path), tmp_path / "out")
        return {step.name: step.inputs for step in plan.steps()}["samples"]

    before = inputs()
    assert set(before) == {"contaminants", "verdicts 0"}
    (tmp_path / "seen.csv").write_text("source_id,verdict\n1_2_3,lens\n")
    after = inputs()
    assert after["verdicts 0"] != before["verdicts 0"]
    assert after["contaminants"] == before["contaminants"]
    bare = SearchPlan(load_search(write(tmp_path, mock)), tmp_path / "out")
    assert not {step.name: step.inputs for step in bare.steps()}["samples"]
