"""Writes the tables of docs/realism.md from committed results, so that no number is typed by hand.

    python benchmarks/realism_tables.py [--check]

Reads benchmarks/results/realism.json (`realism_numbers.py`), realism_controls.json (`legacylens realism controls
--json`) and realism_real_hosts.json (`realism_real_hosts.py`); a table stands between `<!-- name -->` and
`<!-- /name -->`. With --check nothing is written, and the exit code is 1 if the page differs from the results.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "realism.md"
SHOWN = {
    "lens_evidence": "`lens_evidence`",
    "arc_score": "`arc_score`",
    "aperture_snr": "aperture",
    "peak_snr": "chromatic peak",
    "statement_arc_snr": "the statement's",
}


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def interval(value, digits=2):
    return f"{value['median']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def recovery(numbers):
    """Fluxes and colors against the truth, false alarms and speed."""
    found, alone = numbers["recovery"], numbers["recovery_isolated"]
    alarms, speed = numbers["false_alarms"], numbers["speed"]
    rows = [
        (
            f"recovered flux over truth, S/N above 10, median [16, 84 %] of {found['flux_g']['n']} arcs, g",
            "bias 10 %, scatter 25 %",
            interval(found["flux_g"]),
        ),
        ("the same in r, in z", "", f"{interval(found['flux_r'])}, {interval(found['flux_z'])}"),
        (
            f"the same in g, r, z behind the {alone['flux_g']['n']} galaxies that show nothing (S/N below 5) without "
            "their arc",
            "bias 10 %, scatter 25 %",
            ", ".join(interval(alone[f"flux_{band}"]) for band in "grz"),
        ),
        ("recovered g-r minus truth", "bias 0.1 mag", interval(found["color"])),
    ]
    oracle = numbers.get("oracle", {})
    rows += [(f"flux in g, {name}", "", interval(value)) for name, value in oracle.items()]
    rows += [
        (
            f"z > 3 on galaxies without arcs ({alarms['n']})",
            "0.05 to 0.3 %",
            f"{100 * alarms['above_3']:.2f} %",
        ),
        (
            "speed of `measure`",
            "50 a second on 2 cores",
            f"{speed['cutouts_per_second']:.0f} a second by {speed['workers']} processes over {speed['cutouts']} "
            "cutouts, templates made on the way",
        ),
    ]
    return table(("what", "wanted", "measured"), rows)


def brightness(numbers):
    """The brightness factor of an audit against the true one."""
    rows = [
        (f"{row['true']:g}", f"{row['value']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}")
        for row in numbers["brightness_factor"]
    ]
    return table(("arcs made brighter by", "audit says", "95 %"), rows)


def colors(numbers):
    """Recovered color of sources of fixed true color."""
    rows = [
        (f"{row['true']:g}", f"{item['median']:+.2f}", f"{item['low']:+.2f} to {item['high']:+.2f}", item["n"], which)
        for row in numbers["colors"]
        for item, which in ((row, "all"), (row["at_its_place"], "at the lens's Einstein radius"))
    ]
    return table(("true g-r", "recovered minus true, median", "16 to 84 %", "arcs", "which"), rows)


def candidates(numbers):
    """What was measured of cutouts of DR10."""
    rows = [
        (
            row["source_id"],
            f"{row['arc_score']:.1f}",
            f"{row['peak_snr']:.1f}",
            f"{row['lens_snr']:.1f}",
            f"{row['arc_mag_g']:.2f}",
            f"{row['arc_g_r']:.2f}",
            f"{row['statement_arc_snr']:.1f}",
        )
        for row in numbers["ls-dr10-candidates"]
    ]
    return table(("cutout", "score", "peak S/N", "lens S/N", "arc g", "g - r", "the statement's"), rows)


def areas(hosts):
    """Areas under ROC curves on real galaxies."""
    rows = []
    for survey in ("des-lrg", "kids-viking-field"):
        for kind in ("isolated", "with_companions"):
            for mag in (22, 23, 24, 25):
                found = hosts[survey][f"r={mag}"].get(kind)
                if found is not None:
                    label = f"{survey}, {kind.replace('_', ' ')} ({hosts[survey][kind]})"
                    cells = [f"{found[name]['area']:.2f} ± {found[name]['error']:.2f}" for name in SHOWN]
                    rows.append((label, mag, *cells))
    return table(("galaxies", "r", *SHOWN.values()), rows)


def controls(results):
    """Verdicts of the gate on its controls."""
    rows = [
        (
            f"`{row['control']}`",
            row["must"],
            row["verdict"],
            f"{row['seeds_as_expected']} of {row['seeds']}",
            row["n"],
            ", ".join(list(row["because"])[:3]) if row["must"] == "fail" else "",
        )
        for row in results
    ]
    return table(("control", "must", "verdict", "as expected", "n", "because of"), rows)


def audits(results):
    """What an audit says of the controls' sets."""
    rows = []
    for row in results:
        if not row["findings"] and row["must"] == "fail":
            named = "nothing"
        else:
            named = ", ".join(f"{item['name']} {item['effect']:.1f}" for item in row["findings"]) or "none"
        factor = row["brightness_factor"]
        if row["control"] != "real-real":
            rows.append(
                (
                    f"`{row['control']}`",
                    row["finding_wanted"] or "none",
                    named,
                    "-" if factor is None else f"{factor:.2f}",
                )
            )
    return table(("set", "its fault", "findings, with effect", "brightness factor"), rows)


def tables():
    """Name -> text of every table whose results are there."""
    read = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("realism*.json")}
    numbers, hosts, results = (read[name] for name in ("realism", "realism_real_hosts", "realism_controls"))
    return {
        "recovery": recovery(numbers),
        "colors": colors(numbers),
        "brightness": brightness(numbers),
        "candidates": candidates(numbers),
        "areas": areas(hosts),
        "controls": controls(results),
        "audits": audits(results),
    }


def filled(page, made):
    """The page with its tables replaced."""
    for name, text in made.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if page.count(start) != 1 or page.count(end) != 1:
            raise ValueError(f"docs/realism.md has no single place for the table {name}: {start} ... {end}")
        head, rest = page.split(start)
        page = f"{head}{start}\n{text}\n{end}{rest.split(end)[1]}"
    return page


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    new = filled(page, tables())
    if options.check:
        sys.exit(int(new != page))
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
