"""The steps of a search, built from its configuration: what each reads, what it calls, which code it depends on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from legacylens.files import read_parquet, sha256_of_file, sha256_of_text, to_json, write_json
from legacylens.search.engine import Results, Step
from legacylens.search.places import SearchPlaces
from legacylens.search.report import GATES_NAME, report_of
from legacylens.survey.release import Release

CATALOG = ("survey", "catalog")
"""Parts behind every table of the sky."""
PIXELS = (*CATALOG, "cutouts")
"""Parts behind every stamp."""
LEARNED = (*PIXELS, "samples", "models", "training")
"""Parts behind every network."""
TESTED = (*LEARNED, "lensing", "mocks", "scan", "validation")
"""Parts behind every test of a network that injects lenses."""


def fingerprint(release: Release) -> str:
    """Return a hash of what a release holds, without reading its pixels.

    The brick table whole, and the name and size of each sweep: the coadds are verified one by one against the
    release's own checksums when they are cut.
    """
    parts = {"bricks": sha256_of_file(release.local(release.bricks_path()))}
    sweeps = release.sweep_paths()
    if release.is_remote:
        parts["sweeps"] = sha256_of_text("\n".join(sweeps))
    else:
        parts["sweeps"] = sha256_of_text(
            "\n".join(f"{Path(path).name} {release.local(path).stat().st_size}" for path in sweeps)
        )
    return sha256_of_text(to_json(parts))


class SearchPlan(SearchPlaces):
    """Builds the steps of a search."""

    def steps(self) -> list[Step]:
        """Return the steps in order."""
        build = {
            "mocks": self._mocks,
            "known-lenses": self._known_lenses,
            "parent": self._parent,
            "cutouts": self._cutouts,
            "samples": self._samples,
            "gates": self._gates,
            "train": self._train,
            "scan": self._scan,
            "validate": self._validate,
            "candidates": self._candidates,
            "shortcuts": self._shortcuts,
            "completeness": self._completeness,
            "report": self._report,
        }
        return [build[name]() for name in self.names]

    def _sky(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return what a step that reads the release follows, and the hashes of its inputs."""
        if self.config.mock is not None:
            return ("mocks",), {}
        return (), {"release": fingerprint(self.release())}

    def _mocks(self) -> Step:
        mock = self.config.mock
        if mock is None:
            raise ValueError("no [mock] section")

        def run(folder: Path) -> Results:
            from legacylens.mocks.release import write_mock_release

            summary = write_mock_release(
                folder / "release",
                size=mock.resolved,
                seed=mock.seed,
                truth=folder / "truth",
                known_lenses=folder / "known-lenses.csv",
                workers=self.config.workers,
            )
            return dataclasses.asdict(summary)

        return Step(
            name="mocks",
            configuration={"contents": mock.resolved.model_dump(mode="json")},
            seeds={"sky": mock.seed},
            parts=("survey", "lensing", "mocks"),
            run=run,
        )

    def _known_lenses(self) -> Step:
        known = self.config.known_lenses
        lists = list(known.lists)
        files = {each: sha256_of_file(each) for each in known.lists if Path(each).is_file()}
        if known.published is not None:
            files |= {
                str(each): sha256_of_file(each) for each in sorted(Path(known.published).glob("*")) if each.is_file()
            }
        after: tuple[str, ...] = ()
        if self.config.mock is not None:
            lists.append(str(self.folder("mocks") / "known-lenses.csv"))
            after = ("mocks",)

        def run(folder: Path) -> Results:
            from legacylens.catalog.known_lenses import gather, write

            return write(
                gather(
                    lenscat=known.lenscat,
                    published=known.published,
                    lists=lists,
                    column_map=known.columns,
                    radius=known.radius_arcsec,
                ),
                folder,
            )

        return Step(
            name="known-lenses",
            configuration=known.model_dump(mode="json"),
            inputs=files,
            after=after,
            parts=CATALOG,
            run=run,
        )

    def _parent(self) -> Step:
        after, inputs = self._sky()

        def run(folder: Path) -> Results:
            from legacylens.catalog.parent_build import build_parent

            report = build_parent([self.release()], self.config.parent, folder, workers=self.config.workers)
            return report.as_dict()

        return Step(
            name="parent",
            configuration=self.config.parent.model_dump(mode="json"),
            inputs=inputs,
            after=after,
            parts=CATALOG,
            run=run,
        )

    def _cutouts(self) -> Step:
        _, inputs = self._sky()

        def run(folder: Path) -> Results:
            from legacylens.cutouts.bricks import cut_targets

            report = cut_targets(
                self.release(),
                self._table("parent", "parent.parquet", ["source_id", "ra", "dec", "brickname"]),
                folder / "store",
                self.config.cutouts,
                workers=self.config.workers,
            )
            return dataclasses.asdict(report)

        return Step(
            name="cutouts",
            configuration=self.config.cutouts.model_dump(mode="json"),
            inputs=inputs,
            after=("parent",),
            parts=PIXELS,
            run=run,
        )

    def _samples(self) -> Step:
        def run(folder: Path) -> Results:
            from legacylens.samples.build import make_sample

            return make_sample(
                self.folder("parent"),
                self.folder("known-lenses"),
                folder,
                self.config.samples,
                contaminants_path=labels.contaminants,
                verdict_paths=labels.verdicts,
            )

        labels = self.config.labels
        inputs = {f"verdicts {place}": sha256_of_file(Path(path)) for place, path in enumerate(labels.verdicts)}
        if labels.contaminants is not None:
            path = Path(labels.contaminants)
            inputs["contaminants"] = sha256_of_file(path / "contaminants.parquet" if path.is_dir() else path)
        return Step(
            name="samples",
            configuration=self.config.samples.model_dump(mode="json"),
            inputs=inputs,
            after=("parent", "known-lenses"),
            seeds={"split": self.config.samples.split_seed, "draw": self.config.samples.draw_seed},
            parts=(*CATALOG, "samples"),
            run=run,
        )

    def _gates(self) -> Step:
        def run(folder: Path) -> Results:
            from legacylens.validation.leakage import gate_files

            result = gate_files(
                self.folder("samples"), self.folder("parent"), store=self.folder("cutouts") / "store", split="train"
            )
            write_json(folder / GATES_NAME, result)
            verdicts = [gate["verdict"] for gate in result["gates"]]
            return {"verdict": result["verdict"], "gates": len(verdicts), "failed": verdicts.count("fail")}

        return Step(
            name="gates",
            configuration={},
            after=("samples", "parent", "cutouts"),
            parts=(*PIXELS, "samples", "validation"),
            run=run,
        )

    def _train(self) -> Step:
        def run(folder: Path) -> Results:
            from legacylens.training.recipes import train_recipe

            result = train_recipe(
                self.folder("cutouts") / "store",
                self.folder("samples"),
                self.config.training,
                folder,
                description=self._sky_in_words(),
            )
            return dataclasses.asdict(result)

        return Step(
            name="train",
            configuration=self.config.training.model_dump(mode="json"),
            after=("cutouts", "samples"),
            seeds={"training": self.config.training.seed},
            parts=LEARNED,
            run=run,
        )

    def _sky_in_words(self) -> str:
        if self.config.mock is not None:
            return f"mock sky ({self.config.mock.size}, seed {self.config.mock.seed}); not a real survey"
        return f"release {self.release().root}"

    def _scan(self) -> Step:
        def run(folder: Path) -> Results:
            from legacylens.scan.score import score_store

            result = score_store(
                self.folder("cutouts") / "store", self.folder("train") / "best.pt", folder, self.config.scan
            )
            return dataclasses.asdict(result)

        return Step(
            name="scan",
            configuration=self.config.scan.model_dump(mode="json"),
            after=("cutouts", "train"),
            parts=(*LEARNED, "scan"),
            run=run,
        )

    def _validate(self) -> Step:
        def run(folder: Path) -> Results:
            from legacylens.validation.report import validate_files

            results: dict[str, Any] = {}
            for split in ("validation", "sealed"):
                # The sealed cells are opened once for each set of scores; a repetition is counted in their ledger and
                # said in the report.
                results[split] = validate_files(
                    self.folder("scan"),
                    self.folder("samples"),
                    folder / split,
                    split=split,
                    config=self.config.validation,
                    reopen="the search was run again and made other scores",
                )
            return {split: {"recall": result["recall"], "auc": result["auc"]} for split, result in results.items()}

        return Step(
            name="validate",
            configuration=self.config.validation.model_dump(mode="json"),
            after=("scan", "samples"),
            parts=("survey", "catalog", "samples", "validation"),
            run=run,
        )

    def _candidates(self) -> Step:
        def run(folder: Path) -> Results:
            from legacylens.candidates.build import build_candidates
            from legacylens.candidates.publish import write_candidates

            found = build_candidates(
                self._table("scan", "scores.parquet"),
                self._table("parent", "parent.parquet"),
                self.config.candidates,
                known=self._table("known-lenses", "systems.parquet"),
                sample=self._table("samples", "sample.parquet"),
            )
            return {"counts": found.counts, "threshold": found.threshold, **write_candidates(found.frame, folder)}

        return Step(
            name="candidates",
            configuration=self.config.candidates.model_dump(mode="json"),
            after=("scan", "parent", "known-lenses", "samples"),
            parts=("survey", "catalog", "samples", "candidates"),
            run=run,
        )

    def _shortcuts(self) -> Step:
        checks = self.config.checks

        def run(folder: Path) -> Results:
            from legacylens.validation.shortcut_run import shortcut_files

            result = shortcut_files(
                self.folder("train") / "best.pt",
                self.folder("cutouts") / "store",
                self.folder("samples"),
                folder,
                parent_path=self.folder("parent"),
                injections=checks.arcs,
            )
            verdicts = [test["verdict"] for test in result["tests"]]
            return {"verdict": result["verdict"], "tests": len(verdicts), "failed": verdicts.count("fail")}

        return Step(
            name="shortcuts",
            configuration={"arcs": checks.arcs},
            after=("cutouts", "samples", "parent", "train"),
            parts=TESTED,
            run=run,
        )

    def _completeness(self) -> Step:
        checks = self.config.checks

        def run(folder: Path) -> Results:
            from legacylens.validation.completeness_run import lowest_threshold, measure_completeness

            fpr, threshold = lowest_threshold(self.folder("validate") / "validation", checks.fpr)
            result = measure_completeness(
                self.folder("train") / "best.pt",
                self.folder("cutouts") / "store",
                self.folder("parent"),
                folder,
                threshold=threshold,
                sample=self.folder("samples"),
                n=checks.injections,
                workers=self.config.workers,
                release=self.release().root,
                randoms=checks.randoms,
                cuts=self.config.parent,
                scan=self.config.scan,
            )
            total = result["tables"]["total"]
            return {"fpr": fpr, "scored": result["scored"], "recovered": total["n_recovered"], "map": result["map"]}

        return Step(
            name="completeness",
            configuration={
                "injections": checks.injections,
                "fpr": checks.fpr,
                "randoms": list(checks.randoms),
                "cuts": self.config.parent.model_dump(mode="json"),
                "scan": self.config.scan.model_dump(mode="json"),
            },
            after=("cutouts", "samples", "parent", "train", "validate"),
            parts=TESTED,
            run=run,
        )

    def _report(self) -> Step:
        def run(folder: Path) -> Results:
            return report_of(self, folder)

        return Step(
            name="report",
            configuration=self.config.model_dump(mode="json"),
            after=tuple(name for name in self.names if name != "report"),
            parts=("plots", "search", "config"),
            run=run,
        )

    def _table(self, step: str, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        return read_parquet(self.folder(step) / name, columns=columns)
