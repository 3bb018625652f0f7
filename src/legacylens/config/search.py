"""The file of a whole search: one section for each step, every value with a default that is said here."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from legacylens.candidates.config import CandidateConfig
from legacylens.catalog.parent import ParentCuts
from legacylens.config.load import load_record
from legacylens.cutouts.stamps import CutoutConfig
from legacylens.errors import ConfigurationError
from legacylens.mocks.release_config import SIZES, MockReleaseConfig, Size
from legacylens.samples.config import SampleConfig
from legacylens.scan.config import ScanConfig
from legacylens.settings import Settings
from legacylens.training.config import TrainConfig
from legacylens.validation.config import ValidationConfig


class ReleaseSection(Settings):
    """Where the survey is."""

    path: str
    """Folder or URL of the release, the one that holds survey-bricks.fits.gz."""
    cache: str | None = None
    """Folder for files fetched from a URL; None: a temporary one."""


class MockSection(Settings):
    """Write a mock release and search it, instead of a given one."""

    size: Size = "small"
    """tiny, small or medium; `contents` overrides what it stands for."""
    contents: MockReleaseConfig | None = None
    """Contents of another size than the named ones."""
    seed: int = Field(default=1, ge=0)
    """Seed of the sky."""

    @property
    def resolved(self) -> MockReleaseConfig:
        """The contents, whether named or given."""
        return self.contents or SIZES[self.size]


class KnownLensesSection(Settings):
    """Which known lenses give the labels and are kept out of the non-lenses."""

    lenscat: bool = True
    """Read the catalog of the installed lenscat package."""
    published: str | None = None
    """Folder of the published candidate lists."""
    lists: tuple[str, ...] = ()
    """The user's own lists: CSV, FITS, VOTable or ECSV."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Column map of the user's lists, e.g. {ra = "RAJ2000", dec = "DEJ2000"}."""
    radius_arcsec: float = Field(default=3.0, gt=0, le=30)
    """Entries within this radius [arcsec] are one system."""


class LabelsSection(Settings):
    """What people have seen to be no lenses, besides the lists of known lenses."""

    contaminants: str | None = None
    """Folder that `legacylens contaminants` made: labeled rings, spirals, mergers and the like."""
    verdicts: tuple[str, ...] = ()
    """Tables of verdicts on suspicious non-lenses (`legacylens samples suspicious`)."""


class ChecksSection(Settings):
    """Tests of the trained network beyond its scores.

    They cost minutes, so none is made unless it is asked for; with any of them the report gets a second page,
    ``validation.html``.
    """

    shortcuts: bool = False
    """Test whether the network looks at arcs (`legacylens validate shortcuts`)."""
    arcs: int = Field(default=200, ge=0)
    """Arcs injected for these tests."""
    injections: int = Field(default=0, ge=0)
    """Lenses injected to measure completeness (`legacylens validate completeness`); 0 measures none. 10,000 take about
    seven minutes on two cores with the small network."""
    fpr: float = Field(default=0.01, gt=0, lt=1)
    """The threshold is that of this false-positive rate, or of the lowest above it that can be had."""
    randoms: tuple[str, ...] = ()
    """Random catalogs of the survey for the map of completeness; without them it is made of the bricks."""


class ReportSection(Settings):
    """The report."""

    title: str = "Search for strong lenses"
    """Its title."""
    about_data: str = ""
    """Sentences about where the data came from, shown on top."""


class SearchConfig(Settings):
    """A whole search, from the sky to a candidate list."""

    name: str = "search"
    """A word for it, used in the report and in names of files."""
    workers: int = Field(default=2, ge=1, le=256)
    """Processes for reading sweeps and bricks; no result depends on it."""
    release: ReleaseSection | None = None
    """The survey. Either this or [mock]."""
    mock: MockSection | None = None
    """A mock sky. Either this or [release]."""
    known_lenses: KnownLensesSection = KnownLensesSection()
    """The known lenses. With [mock], its own list is read besides."""
    parent: ParentCuts = ParentCuts()
    """The selection function, the same for every class of object."""
    cutouts: CutoutConfig = CutoutConfig()
    """What is cut from the bricks."""
    labels: LabelsSection = LabelsSection()
    """Contaminants and verdicts."""
    samples: SampleConfig = SampleConfig()
    """Labels and splits."""
    training: TrainConfig = TrainConfig()
    """The network and how it is trained."""
    scan: ScanConfig = ScanConfig()
    """How every object is scored."""
    validation: ValidationConfig = ValidationConfig()
    """What is measured on the validation and the sealed cells."""
    checks: ChecksSection = ChecksSection()
    """Further tests of the network."""
    candidates: CandidateConfig = CandidateConfig()
    """What becomes a candidate."""
    report: ReportSection = ReportSection()
    """The HTML report."""

    @model_validator(mode="after")
    def _one_sky(self) -> Self:
        if (self.release is None) == (self.mock is None):
            raise ValueError("give either [release] (a survey) or [mock] (a sky to be made), and not both")
        known = self.known_lenses
        if self.mock is None and not (known.lenscat or known.published or known.lists):
            raise ValueError("known_lenses names no list at all: without lenses there is nothing to train on")
        return self


def load_search(path: str | Path) -> SearchConfig:
    """Read the file of a search; relative paths in it are relative to the file.

    Raises
    ------
    ConfigurationError
        With every problem at once, among them local files that are not there.
    """
    path = Path(path)
    config = load_record(SearchConfig, path)
    folder = path.resolve().parent

    def placed(value: str) -> str:
        return value if "://" in value or Path(value).is_absolute() else str(folder / value)

    known = config.known_lenses.model_copy(
        update={
            "published": None if config.known_lenses.published is None else placed(config.known_lenses.published),
            "lists": tuple(placed(each) for each in config.known_lenses.lists),
        }
    )
    labels = config.labels.model_copy(
        update={
            "contaminants": None if config.labels.contaminants is None else placed(config.labels.contaminants),
            "verdicts": tuple(placed(each) for each in config.labels.verdicts),
        }
    )
    checks = config.checks.model_copy(update={"randoms": tuple(placed(each) for each in config.checks.randoms)})
    release = config.release and config.release.model_copy(
        update={
            "path": placed(config.release.path),
            "cache": None if config.release.cache is None else placed(config.release.cache),
        }
    )
    wanted = {f"known_lenses.lists.{number}": each for number, each in enumerate(known.lists)}
    if known.published is not None:
        wanted["known_lenses.published"] = known.published
    wanted |= {f"labels.verdicts.{number}": each for number, each in enumerate(labels.verdicts)}
    wanted |= {f"checks.randoms.{number}": each for number, each in enumerate(checks.randoms)}
    if labels.contaminants is not None:
        wanted["labels.contaminants"] = labels.contaminants
    if release is not None:
        wanted["release.path"] = release.path
    absent = [
        f"{key}: {each} is not there" for key, each in wanted.items() if "://" not in each and not Path(each).exists()
    ]
    if absent:
        raise ConfigurationError(path, absent)
    return config.model_copy(update={"known_lenses": known, "labels": labels, "checks": checks, "release": release})
