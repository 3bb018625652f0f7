import pytest
from pydantic import Field

from legacylens.config.load import as_toml, load_record
from legacylens.errors import ConfigurationError, FileProblem
from legacylens.settings import Settings


class Cuts(Settings):
    z_mag_max: float = Field(20.0, gt=0)
    """Faint limit [mag]."""
    types: tuple[str, ...] = ("SER", "DEV")
    """Types."""


class Search(Settings):
    name: str
    """Name."""
    parent: Cuts = Cuts()
    """Cuts."""
    second: Cuts | None = None
    """More cuts."""


def write(tmp_path, text):
    path = tmp_path / "search.toml"
    path.write_text(text)
    return path


def test_a_file_becomes_a_frozen_record(tmp_path):
    record = load_record(Search, write(tmp_path, 'name = "a"\n[parent]\nz_mag_max = 19.5\n'))
    assert record == Search(name="a", parent=Cuts(z_mag_max=19.5))
    with pytest.raises(ValueError, match="frozen"):
        record.name = "b"


def test_all_problems_come_at_once_with_their_paths(tmp_path):
    path = write(tmp_path, "[parent]\nz_mag_max = -1\nzmag_max = 3\n[second]\ncolour = 1\n[trian]\nepochs = 3\n")
    with pytest.raises(ConfigurationError) as caught:
        load_record(Search, path)
    assert caught.value.source == str(path)
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5
    assert "name: is required" in text
    assert "parent.z_mag_max: Input should be greater than 0, got -1" in text
    assert "parent.zmag_max: unknown key; did you mean 'z_mag_max'?" in text
    assert "second.colour: unknown key; known keys: types, z_mag_max" in text
    assert "trian: unknown key; known keys: name, parent, second" in text


def test_what_is_no_toml_is_named_with_its_place(tmp_path):
    with pytest.raises(ConfigurationError, match=r"not TOML: .*line 1"):
        load_record(Search, write(tmp_path, "name = \n"))
    with pytest.raises(FileProblem, match="no such configuration"):
        load_record(Search, tmp_path / "none.toml")
    with pytest.raises(FileProblem, match="is a folder"):
        load_record(Search, tmp_path)


def test_the_resolved_configuration_reads_back(tmp_path):
    record = Search(name="x", parent=Cuts(types=("REX",)))
    assert load_record(Search, write(tmp_path, as_toml(record))) == record
