"""The checks that a search may ask for: which steps they add, what they need, and whose threshold they take."""

import json

import pytest

from legacylens.config.search import ChecksSection, load_search
from legacylens.errors import ConfigurationError, FileProblem, InputError
from legacylens.search.examples import quickstart_config
from legacylens.search.steps import SearchPlan
from legacylens.validation.completeness_run import lowest_threshold

IDENTITY = {"sample_hash": "a", "definition_hash": "b", "scores_hash": "c", "lens_values": {}}
"""What a validation says of what it judged."""


def plan(tmp_path, **checks):
    config = quickstart_config(size="tiny", seed=5, workers=1)
    return SearchPlan(config.model_copy(update={"checks": ChecksSection(**checks)}), tmp_path)


def test_checks_add_steps_only_where_they_are_asked_for(tmp_path) -> None:
    usual = plan(tmp_path).names
    assert {"shortcuts", "completeness"}.isdisjoint(usual)
    both = plan(tmp_path, shortcuts=True, injections=10)
    assert both.names == [*usual[:-1], "shortcuts", "completeness", "report"]
    # Nothing that comes before moves to another folder, so nothing runs again.
    assert [both.folder(name).name for name in usual[:-1]] == [plan(tmp_path).folder(n).name for n in usual[:-1]]
    assert plan(tmp_path, injections=10).names[-2:] == ["completeness", "report"]


def test_a_check_runs_again_if_what_it_measures_changes(tmp_path) -> None:
    def configuration(**checks):
        (step,) = [step for step in plan(tmp_path, **checks).steps() if step.name == "completeness"]
        return step.configuration

    assert configuration(injections=10) == configuration(injections=10, shortcuts=True)
    assert configuration(injections=10) != configuration(injections=20)
    assert configuration(injections=10) != configuration(injections=10, fpr=0.1)


def test_random_catalogs_are_found_beside_the_file_of_the_search(tmp_path) -> None:
    (tmp_path / "dr10").mkdir()
    path = tmp_path / "search.toml"
    path.write_text('[release]\npath = "dr10"\n[checks]\ninjections = 5\nrandoms = ["randoms-1-0.fits"]\n')
    with pytest.raises(ConfigurationError, match=r"checks\.randoms\.0: .*randoms-1-0\.fits is not there"):
        load_search(path)
    (tmp_path / "randoms-1-0.fits").touch()
    assert load_search(path).checks.randoms == (str(tmp_path / "randoms-1-0.fits"),)


def test_the_lowest_rate_that_can_be_had_gives_the_threshold(tmp_path) -> None:
    rows = [
        {"fpr_target": 0.1, "measurable": True, "threshold": 1.0, "tail": None},
        {"fpr_target": 0.01, "measurable": False, "threshold": 2.0, "tail": {"threshold": 1.75}},
        {"fpr_target": 0.001, "measurable": False, "threshold": 3.0, "tail": None},
    ]
    (tmp_path / "validation.json").write_text(json.dumps({**IDENTITY, "recall": rows}))
    assert lowest_threshold(tmp_path, 0.1) == (0.1, 1.0)
    assert lowest_threshold(tmp_path, 0.001) == (0.01, 1.75)  # extrapolated, because 0.001 has nothing behind it
    assert lowest_threshold(tmp_path, 0.02) == (0.1, 1.0)
    with pytest.raises(InputError, match=r"no false-positive rate of 0\.3 or more that could be measured"):
        lowest_threshold(tmp_path, 0.3)
    with pytest.raises(FileProblem, match="no such validation"):
        lowest_threshold(tmp_path / "absent.json", 0.1)
