"""The page: self-contained, whole, the same twice, and unharmed by odd names."""

import base64
import io
import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from legacylens.plots.gallery import picture_uri
from legacylens.plots.report import ReportInputs, Step, report_numbers, write_report


class Page(HTMLParser):
    """Everything a browser would fetch or show, and whether tags close in order."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.sources, self.links, self.ids, self.open, self.errors, self.images = [], [], [], [], [], []
        self.text, self.numbers = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in self.VOID:
            self.open.append((tag, attributes))
        if "src" in attributes:
            self.sources.append(attributes["src"])
        if tag == "link":
            self.sources.append(attributes["href"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])

    def handle_endtag(self, tag):
        if not self.open or self.open[-1][0] != tag:
            self.errors.append((self.getpos(), tag, self.open[-1][0] if self.open else None))
        else:
            self.open.pop()

    def handle_data(self, data):
        tag = self.open[-1] if self.open else ("", {})
        if tag[0] == "script":
            self.numbers += data
        elif tag[0] != "style":
            self.text.append(data)


@pytest.fixture(scope="session")
def written(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    numbers = write_report(folder, inputs)
    return folder, numbers


@pytest.fixture(scope="session")
def page(written):
    return Page((written[0] / "report.html").read_text(encoding="utf-8"))


def test_the_page_is_well_formed_and_fetches_nothing(page):
    assert page.errors == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(source.startswith("data:") for source in page.sources)
    assert all(link.startswith("#") for link in page.links)  # a simulated sky has nothing to show in the viewer
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert all(image["alt"] for image in page.images)


def test_no_style_fetches_anything(written):
    text = (written[0] / "report.html").read_text(encoding="utf-8")
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_numbers_are_the_same_in_three_places(written, page):
    folder, numbers = written
    assert json.loads(page.numbers) == numbers
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == numbers


def test_every_section_shows_its_numbers(written, page):
    text = " ".join(" ".join(page.text).split())
    _, numbers = written
    assert "A simulated sky." in text
    assert "What this does not show" in text
    for sentence in numbers["not_shown"]:
        assert sentence in text
    for candidate in numbers["candidates"]["shown"]:
        assert candidate["name"] in text
    for step in numbers["steps"]:
        assert f"{step['left']:,}" in text
        for reason, count in step["removed"].items():
            assert reason in text
            assert f"{count:,}" in text
    for row in numbers["validation"]["recall"]:
        assert f"{row['recall']:.3f}" in text
        assert row["note"] in text
    assert numbers["sample"]["hash"] in text
    assert "samples.nside 1024" in text
    for row in numbers["gates"]["gates"]:
        assert row["gate"] in text
        assert row["verdict"] in text
    for light in numbers["lights"].values():
        assert light["why"] in text
    assert "in no list" in text
    assert "trained on as lens" in text


def test_the_best_fifty_have_their_pictures(written, page):
    _, numbers = written
    assert len(numbers["candidates"]["shown"]) == 50
    assert sum(source.startswith("data:image/png") for source in page.sources) == 49
    assert " ".join(page.text).count("no cutout") == 1
    assert sum(source.startswith("data:image/svg+xml") for source in page.sources) == 4


def test_a_hostile_name_is_only_text(written, page):
    text = (written[0] / "report.html").read_text(encoding="utf-8")
    assert "<b>bold" not in text
    assert text.count("</script>") == 1
    assert "<title>A search of a small sky &amp; &lt;more&gt;</title>" in text
    shown = json.loads(page.numbers)["candidates"]["shown"]
    assert "</script><b>bold</b>" in {candidate["known_names"] for candidate in shown}


def test_the_same_inputs_give_the_same_file(written, inputs, tmp_path):
    write_report(tmp_path / "report.html", inputs)
    for name in ("report.html", "report.json"):
        assert (tmp_path / name).read_bytes() == (written[0] / name).read_bytes()


def test_counts_add_up_from_step_to_step(written):
    _, numbers = written
    steps = numbers["steps"]
    for before, after in itertools.pairwise(steps):
        assert before["left"] - sum(after["removed"].values()) == after["left"]


def test_a_real_sky_links_to_the_viewer(inputs):
    real = _replace(inputs, is_mock=False, viewer_layer="ls-dr9", store=None)
    from legacylens.plots.report import report_page

    text = report_page(real, report_numbers(real))
    page = Page(text)
    links = [link for link in page.links if not link.startswith("#")]
    assert len(links) == 50
    assert re.fullmatch(r"https://www\.legacysurvey\.org/viewer\?ra=[\d.]+&dec=[\d.]+&layer=ls-dr9&zoom=16", links[0])
    assert "A simulated sky" not in text
    assert all(source.startswith("data:") for source in page.sources)


def test_a_search_that_found_and_judged_nothing_still_has_a_page(inputs, tmp_path):
    empty = _replace(
        inputs,
        candidates=inputs.candidates.iloc[:0],
        candidate_counts=dict.fromkeys(inputs.candidate_counts, 0),
        validation=None,
        gates=None,
        training={},
        hashes={},
        store=None,
    )
    numbers = write_report(tmp_path, empty)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.errors == []
    text = " ".join(page.text)
    assert "No object passed the threshold." in text
    assert "so nothing can be said" in text
    assert numbers["validation"] is None
    assert numbers["lights"]["trust"]["level"] == "red"


def test_numbers_have_no_nan(inputs):
    candidates = inputs.candidates.copy()
    candidates.loc[0, "mag_g"] = np.nan
    numbers = report_numbers(_replace(inputs, candidates=candidates))
    assert numbers["candidates"]["shown"][0]["mag_g"] is None
    json.dumps(numbers, allow_nan=False)


def test_a_picture_has_north_up_and_blue_in_g():
    image = np.zeros((3, 101, 101), np.float32)
    image[0, 90, 10] = 1.0  # g: high row is north, low column is east
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture_uri(image, ("g", "r", "z")).split(",")[1]))))
    assert picture.shape == (101, 101, 3)
    row, column, _ = np.unravel_index(picture.argmax(), picture.shape)
    assert (row, column) == (10, 10)
    assert picture[10, 10].argmax() == 2


def _replace(inputs, **changes):
    fields = {name: getattr(inputs, name) for name in inputs.__slots__}
    return ReportInputs(**{**fields, **changes})


def test_a_step_without_reasons_says_nothing_was_left_out(inputs, tmp_path):
    write_report(tmp_path, _replace(inputs, steps=(Step(name="catalog rows", left=5),), store=None))
    assert ">nothing<" in (tmp_path / "report.html").read_text(encoding="utf-8")
