"""The web book, opened from disk in a browser without a network: the one that BLENDKIT_BOOK names, or a small one."""

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from IPython.core.pylabtools import print_figure
from nbformat.v4 import new_output

import blendkit as bk

from .conftest import framed, tab_of, wait_until
from .lab import picture

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated. Check CHANGES")  # Sphinx of its themes


@pytest.fixture(scope="module")
def book(tmp_path_factory, galaxies):
    """The folder of a book: an explorer and a figure stand in notebook 2, all the rest was not run."""
    if "BLENDKIT_BOOK" in os.environ:
        return Path(os.environ["BLENDKIT_BOOK"]).resolve()
    pytest.importorskip("sphinx_book_theme", reason="needs Sphinx and its theme: pip install -e '.[book]'")
    from tools.book import ROOT, build

    home = shutil.copytree(ROOT / "notebooks", tmp_path_factory.mktemp("book") / "results")
    notebook = nbformat.read(path := min(home.glob("02_*.ipynb")), as_version=4)
    figure = bk.figures.blend_parts(galaxies, bk.draw_blends(galaxies, 2, seed=1))
    shown = {"image/png": print_figure(figure, "png", base64=True)}, bk.BlendExplorer(galaxies)._repr_mimebundle_()
    for word, output in zip(("bk.figures.", "bk.BlendExplorer("), shown, strict=True):
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and word in cell.source)
        cell.outputs = [new_output("display_data", output)]
    nbformat.write(notebook, path)
    build(home, home.parent / "site")
    return home.parent / "site"


@pytest.fixture
def page(chromium, book):
    """The front page; an error on the console or a request to anywhere but the disk fails the test."""
    with tab_of(chromium, viewport={"width": 1280, "height": 900}, offline=True) as (tab, requests):
        tab.goto((book / "index.html").as_uri())
        yield tab
        assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}


@pytest.mark.parametrize("place", ["index.html", "notebooks/02_*.html"])
def test_explorers_live(page, book, place):
    page.goto(min(book.glob(place)).as_uri())
    explorer = framed(page)
    (dx, dy), before = explorer.shift, picture(explorer.canvas)
    explorer.drag(9, -4)
    assert (explorer.shift, picture(explorer.canvas) == before) == ((dx + 9, dy - 4), False)
    wait_until(explorer.page, "innerHeight === document.body.offsetHeight")
    wait_until(explorer.page, "!document.querySelector('.bk-network') || document.body.innerText.includes('±')")


def test_search_finds_a_term_and_opens_its_page(page):
    page.keyboard.press("Control+k")
    page.keyboard.type("kron")
    page.keyboard.press("Enter")
    page.locator("#search-results").get_by_role("link", name="Glossary").click()
    assert page.locator("section#glossary img[src*=kron]").evaluate("(image) => image.naturalWidth") > 300


def test_light_and_dark_reach_the_explorer(page):
    explorer = framed(page)
    for theme in ("dark", "light"):
        page.locator("button.theme-switch-button").click()
        page.locator(f"button.theme-change-button[data-mode={theme}]").click()
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        wait_until(explorer.page, f"getComputedStyle(document.documentElement).colorScheme === '{theme}'")


def test_every_picture_has_words_and_no_page_is_wider_than_a_phone(page, book):
    page.set_viewport_size({"width": 390, "height": 844})
    for path in [book / "index.html", *book.glob("docs/*.html"), *book.glob("notebooks/**/*.html")]:
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path.name
        assert page.evaluate("[...document.images].filter((image) => image.alt.length < 10).length") == 0, path.name
