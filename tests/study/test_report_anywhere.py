"""The report's page in browsers: complete in itself, accessible, and safe whatever the runs are called."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.study.report_page import NAME, Page

CHROMIUM = shutil.which("chromium")


def test_the_page_loads_nothing(page, folder):
    addresses = [
        value for _, attributes in page.elements for key, value in attributes.items() if key in {"src", "href"}
    ]
    assert addresses
    assert all(re.match(r"data:|#section-\d+$", address) for address in addresses)
    assert all("src" not in script for script in page.all("script"))
    assert not re.search(r"https?:|url\(|@import", (folder / "report.html").read_text(encoding="utf-8"))


def test_links_and_labels_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    assert {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes} <= set(
        ids
    )


def test_tables_can_be_sorted_and_scrolled(page):
    sorted_by = [th for th in page.all("th") if "aria-sort" in th]
    assert len(sorted_by) == len(page.all("button")) > 20
    assert {th["aria-sort"] for th in sorted_by} == {"none"}
    assert page.number_of("div", "scroll") == len(page.all("table"))
    assert all(scroll["tabindex"] == "0" for scroll in page.all("div") if scroll.get("class") == "scroll")
    values = [float(cell["data-value"]) for cell in page.all("td") if "data-value" in cell]
    assert len(values) > 50


def test_names_are_harmless_in_html(odd_folder):
    page = Page((odd_folder / "report.html").read_text(encoding="utf-8"))
    assert len(page.all("script")) == 1
    assert {image["src"][:5] for image in page.all("img")} == {"data:"}
    assert page.text.count(NAME) > 10


def test_names_are_harmless_in_markdown(odd_folder):
    text = (odd_folder / "report.md").read_text(encoding="utf-8")
    assert text.count(NAME) == text.count(f"\n    {NAME}\n") == 1  # the command, as code
    assert text.count(r"\<script\>") > 5
    assert text.replace(NAME, "").count("](http") == text.count(r"\](http")
    rows = [line for line in text.splitlines() if line.startswith("|") and "no " in line and "more" in line]
    assert len(rows) == 4
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)
    assert html.unescape(re.sub(r"\\(.)", r"\1", text.splitlines()[0])) == f"# {NAME}"


def dom_in_browser(page: Path, tmp_path: Path) -> tuple[str, str]:
    """The page's elements after its scripts have run, and what the browser says on the way."""
    done = subprocess.run(  # noqa: S603
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
            *("--enable-logging=stderr", "--v=0", "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}"),
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium isn't installed")
def test_a_browser_shows_it_without_complaints_and_sorts_it(folder, tmp_path):
    source = (folder / "report.html").read_text(encoding="utf-8")
    clicks = """<script>
        const table = document.querySelector("table"), buttons = table.querySelectorAll("button");
        const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join(";");
        const said = [];
        for (const column of [2, 2, 0]) { buttons[column].click(); said.push(order()); }
        const states = [...table.querySelectorAll("th[aria-sort]")].map(th => th.ariaSort).join(" ");
        document.title = [...said, states].join("/");
    </script></body>"""
    clicked = tmp_path / "clicked.html"
    clicked.write_text(source.replace("</body>", clicks), encoding="utf-8")
    dom, log = dom_in_browser(clicked, tmp_path)
    assert "CONSOLE" not in log
    title = html.unescape(re.search("<title>(.*)</title>", dom)[1])
    rising, falling, by_name, states = title.split("/")
    assert rising.split(";") == ["ELU", "AlphaDropout", "SELU", "AlphaDropout, one-cycle", "BatchNorm"]
    assert falling.split(";") == rising.split(";")[::-1]
    assert by_name.split(";") == ["AlphaDropout", "AlphaDropout, one-cycle", "BatchNorm", "ELU", "SELU"]
    assert states == " ".join(["ascending", *["none"] * 5])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium isn't installed")
def test_a_browser_would_refuse_to_load_anything_and_say_so(folder, tmp_path):
    source = (folder / "report.html").read_text(encoding="utf-8")
    loading = tmp_path / "loading.html"
    loading.write_text(source.replace("</body>", '<img src="http://localhost:9/x.png"></body>'), encoding="utf-8")
    assert "CONSOLE" in dom_in_browser(loading, tmp_path)[1]
