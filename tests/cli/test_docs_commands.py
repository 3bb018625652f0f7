"""Every command that the documentation shows has verbs and options that exist."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from legacylens.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(text):
    """Return the legacylens commands in code blocks, continuation lines joined."""
    blocks = re.findall(r"```(?:console|sh|bash)\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        match = re.match(r"^\$\s+(?:\.venv/bin/)?legacylens\s(.*)$", line.strip())
        if match:
            words = shlex.split(match.group(1), comments=True)
            stop = min((words.index(sign) for sign in (">", "|", "2>", ">>") if sign in words), default=len(words))
            found.append(words[:stop])
    return found


@cache
def help_of(words):
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "250"})
    return result.output if result.exit_code == 0 else None


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_shown_commands_exist(page):
    for words in commands(page.read_text(encoding="utf-8")):
        verb = (words[0],)
        assert help_of(verb) is not None, f"{page.name}: no verb {words[0]!r}"
        if "COMMAND [ARGS]" in help_of(verb):
            verb = tuple(words[:2])
            assert help_of(verb) is not None, f"{page.name}: no verb {' '.join(words[:2])!r}"
        for word in words:
            if word.startswith("--"):
                option = word.split("=", 1)[0]
                known = re.search(rf"{re.escape(option)}\b", help_of(verb))
                assert known, f"{page.name}: {' '.join(verb)} has no {option}"


def test_commands_are_found_at_all():
    assert len(commands((ROOT / "README.md").read_text(encoding="utf-8"))) >= 2
    assert commands("```console\n$ legacylens run a.toml > b\n```") == [["run", "a.toml"]]
