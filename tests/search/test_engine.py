"""When a step runs, when it does not, and what is never deleted."""

import json
import multiprocessing
import time
from pathlib import Path

import pytest

from legacylens.errors import FileProblem, InputError
from legacylens.search.engine import Step, run_steps


class Recorder:
    """Counts how often each step ran, and can be made to fail half-way."""

    def __init__(self):
        self.ran = []
        self.fail_at = None

    def step(self, name, *, after=(), configuration=None, inputs=None, parts=("survey",)):
        def run(folder: Path):
            self.ran.append(name)
            done = folder / "half.txt"
            resumed = done.exists()
            done.write_text("half")
            if self.fail_at == name:
                raise RuntimeError("the power went out")
            (folder / "out.txt").write_text(json.dumps(configuration))
            return {"resumed": resumed}

        return Step(
            name=name, run=run, parts=parts, after=after, configuration=configuration or {}, inputs=inputs or {}
        )


@pytest.fixture
def recorder():
    return Recorder()


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def chain(recorder, *, a=1, b=1, c=1, source="hash"):
    return [
        recorder.step("a", configuration={"x": a}, inputs={"catalog": source}),
        recorder.step("b", after=("a",), configuration={"x": b}),
        recorder.step("c", after=("b",), configuration={"x": c}),
    ]


def test_a_second_run_changes_nothing(recorder, tmp_path):
    first = run_steps(chain(recorder), tmp_path)
    assert [outcome.status for outcome in first] == ["done"] * 3
    before = tree(tmp_path)
    second = run_steps(chain(recorder), tmp_path)
    assert [outcome.status for outcome in second] == ["unchanged"] * 3
    assert [outcome.results for outcome in second] == [outcome.results for outcome in first]
    after = tree(tmp_path)
    before.pop(tmp_path / ".lock"), after.pop(tmp_path / ".lock")
    assert after == before
    assert recorder.ran == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("change", "again"),
    [({"a": 2}, ["a", "b", "c"]), ({"b": 2}, ["b", "c"]), ({"c": 2}, ["c"]), ({"source": "new"}, ["a", "b", "c"])],
)
def test_a_change_runs_its_step_and_all_that_follow(recorder, tmp_path, change, again):
    run_steps(chain(recorder), tmp_path)
    recorder.ran.clear()
    run_steps(chain(recorder, **change), tmp_path)
    assert recorder.ran == again


def test_changed_code_runs_the_steps_that_use_it(recorder, tmp_path, monkeypatch):
    run_steps(chain(recorder), tmp_path)
    recorder.ran.clear()
    monkeypatch.setattr("legacylens.search.engine.code_hash", lambda parts: f"new {parts}")
    run_steps(chain(recorder), tmp_path)
    assert recorder.ran == ["a", "b", "c"]


def test_an_interrupted_step_is_resumed_and_the_finished_ones_kept(recorder, tmp_path):
    recorder.fail_at = "b"
    with pytest.raises(RuntimeError, match="power"):
        run_steps(chain(recorder), tmp_path)
    recorder.fail_at = None
    outcomes = run_steps(chain(recorder), tmp_path)
    assert [outcome.status for outcome in outcomes] == ["unchanged", "done", "done"]
    assert outcomes[1].results == {"resumed": True}
    assert recorder.ran == ["a", "b", "b", "c"]


def test_half_work_of_another_configuration_is_cleared(recorder, tmp_path):
    recorder.fail_at = "b"
    with pytest.raises(RuntimeError, match="power"):
        run_steps(chain(recorder), tmp_path)
    recorder.fail_at = None
    outcomes = run_steps(chain(recorder, b=2), tmp_path)
    assert outcomes[1].results == {"resumed": False}


def test_a_users_files_are_never_deleted(recorder, tmp_path):
    mine = tmp_path / "01-a" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("three years of work")
    with pytest.raises(FileProblem, match="no step of a search wrote"):
        run_steps(chain(recorder), tmp_path)
    assert mine.read_text() == "three years of work"


def test_every_folder_says_what_made_it(recorder, tmp_path):
    run_steps(chain(recorder, a=5), tmp_path)
    record = json.loads((tmp_path / "01-a" / "provenance.json").read_text())
    assert record["configuration"] == {"x": 5}
    assert set(record) >= {"step", "versions", "git_commit", "code_hash", "seeds", "inputs", "written", "results"}


def test_two_steps_of_one_name_are_refused(recorder, tmp_path):
    with pytest.raises(InputError, match="two steps of one name"):
        run_steps([recorder.step("a"), recorder.step("a")], tmp_path)


def _hold(folder, seconds):
    run_steps([Step(name="slow", run=lambda _: time.sleep(seconds) or {}, parts=(), configuration={})], folder)


def test_a_second_run_at_the_same_time_is_refused(recorder, tmp_path):
    other = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path, 3.0))
    other.start()
    try:
        while not (tmp_path / "01-slow" / "step.json").exists():
            time.sleep(0.02)
        with pytest.raises(InputError, match="being written by another run"):
            run_steps(chain(recorder), tmp_path)
    finally:
        other.terminate()
        other.join()
    # The lock is gone with its holder, so the folder can be used again at once.
    assert run_steps([recorder.step("slow")], tmp_path)[0].status == "done"
