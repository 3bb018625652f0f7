"""The page in a real browser: every picture is drawn, nothing is asked for, no error is logged."""

import json
import re
import shutil
import subprocess

import pytest

from legacylens.plots.report import write_report

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

PROBE = """<script>
addEventListener("load", () => {
  const broken = [...document.images].filter(image => !(image.complete && image.naturalWidth > 0)).length;
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const asked = performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:")).length;
  const numbers = JSON.parse(document.getElementById("numbers").textContent).candidates.shown.length;
  document.body.setAttribute("data-probe", JSON.stringify(
    {images: document.images.length, broken, wide, asked, numbers}));
});
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")
@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_in_a_browser(inputs, tmp_path, width):
    write_report(tmp_path, inputs)
    page = tmp_path / "report.html"
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", PROBE), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
               f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000",
               "--dump-dom", page.as_uri()]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    probe = json.loads(re.search(r'data-probe="([^"]*)"', result.stdout)[1].replace("&quot;", '"'))
    assert probe == {"images": 49 + 4, "broken": 0, "wide": 0, "asked": 0, "numbers": 50}
    assert "CONSOLE" not in result.stderr
