"""The command line as a whole: quick, documented, honest about its exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from legacylens.cli import main

HEAVY = ("torch", "pandas", "numpy", "scipy", "astropy", "matplotlib", "pyarrow", "sklearn", "pydantic", "jinja2")


def legacylens(*arguments, cwd=None):
    """Run the installed command; return (exit code, standard output, standard error)."""
    command = Path(sys.executable).with_name("legacylens")
    done = subprocess.run([str(command), *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def test_help_imports_nothing_heavy():
    # What --help has to import decides how fast it answers: typer alone takes 0.05 s, torch seconds.
    code = (
        "import sys, legacylens.cli.main as m\n"
        "try: m.app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("heavy: []")


def every_command():
    """Return the words of every command and group, found by walking the help."""
    found = []

    def walk(words):
        code, out, _ = legacylens(*words, "--help")
        assert code == 0, words
        found.append((words, out))
        if "COMMAND [ARGS]" not in out:
            return
        listed = out.split("Commands", 1)[1]
        names = [
            line.split()[1]
            for line in listed.splitlines()
            if line.startswith("│ ") and len(line.split()) > 1 and line[2] != " "
        ]
        for name in names:
            walk((*words, name))

    walk(())
    return found


def test_every_verb_explains_itself_with_an_example():
    commands = every_command()
    leaves = [(words, out) for words, out in commands if "COMMAND [ARGS]" not in out]
    assert {"run", "quickstart", "known-lenses", "parent", "train", "scan", "candidates"} <= {w[0] for w, _ in leaves}
    for words, out in leaves:
        assert "Example" in out, words
        assert f"legacylens {' '.join(words)}" in out.split("Example", 1)[1], words
        assert "--json" in out, words


def test_the_order_of_help_is_the_order_of_the_data():
    _, out, _ = legacylens("--help")
    places = [out.index(f"│ {name} ") for name in main.ORDER if f"│ {name} " in out]
    assert places == sorted(places)
    assert len(places) >= 12


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--version"], 0, "legacylens"),
        (["no-such-verb"], 2, "No such command"),
        (["run"], 2, "give the file of a search"),
        (["run", "absent.toml"], 2, "no such configuration"),
        (["run", "--example", "none"], 2, "no example 'none'"),
        (["quickstart", "--size", "huge"], 2, "choose one of tiny, small, medium"),
    ],
)
def test_exit_codes(arguments, code, says, tmp_path):
    got, out, err = legacylens(*arguments, cwd=tmp_path)
    assert got == code
    assert says in out + err
    assert "Traceback" not in err


def test_a_configuration_with_faults_names_them_all(tmp_path):
    (tmp_path / "s.toml").write_text('nmae = "x"\n[mock]\nsize = "huge"\n[training]\nepochs = 0\nbatch = 64\n')
    code, out, err = legacylens("run", tmp_path / "s.toml")
    assert code == 2
    assert out == ""
    assert "s.toml: 3 problems" in err
    assert "nmae: unknown key; did you mean 'name'?" in err
    assert "mock.size" in err
    assert "training.epochs" in err


@pytest.mark.parametrize("name", ["mock", "survey"])
def test_examples_are_valid_configurations(name, tmp_path):
    from legacylens.config.load import read_toml, record_from
    from legacylens.config.search import SearchConfig

    code, out, _ = legacylens("run", "--example", name)
    assert code == 0
    path = tmp_path / "example.toml"
    path.write_text(out)
    record_from(SearchConfig, read_toml(path), path)


def test_json_is_one_document_on_standard_output():
    code, out, err = legacylens("known-lenses", "--json")
    assert code == 0, err
    document = json.loads(out)
    # The catalog that the lenscat package ships; the counts of the problem statement.
    assert document["rows"] == 32838
    assert document["desi_named"] == 5104
    assert document["systems"] <= document["rows"]
    assert document["confident"] == 2309


def test_a_full_disk_is_named(monkeypatch, capsys):
    def full(*_args, **_kwargs):
        import errno

        raise OSError(errno.ENOSPC, "No space left on device", "store/part")

    monkeypatch.setattr(main, "app", full)
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 1
    assert "no space left on the disk while writing store/part" in capsys.readouterr().err
