"""What the web book is made of: its map of the paper and its glossary name only what is there; what is refused."""

import json
import re
import shutil
from operator import attrgetter

import pytest

import blendkit as bk
from tools import glossary
from tools.book import ROOT, main, slug

MAP = (ROOT / "docs" / "paper_map.md").read_text(encoding="utf-8")


def test_every_function_of_the_map_exists():
    names = set(re.findall(r"`bk\.([\w.]+)`", MAP))
    assert len(names) > 25
    assert all(callable(attrgetter(name)(bk)) for name in names)


def test_every_heading_of_the_map_stands_in_its_notebook():
    links = re.findall(r"\[([^]]+)\]\(\.\./notebooks/([\w.]+)#([^)]+)\)", MAP)
    assert len(links) == len(re.findall("^[|] [^-p]", MAP, re.MULTILINE)), "a line of the map without a link"
    for title, notebook, anchor in links:
        cells = json.loads((ROOT / "notebooks" / notebook).read_text(encoding="utf-8"))["cells"]
        lines = [line.rstrip() for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"]]
        assert (f"## {title}" in lines, anchor) == (True, slug(title)), f"{notebook}: {title}"


def test_every_term_of_the_glossary_has_a_picture_with_words():
    terms = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").split("\n### ")[1:]
    shown = [re.search(r"!\[(.{20,})\]\(glossary/(\w+)\.png\)", term) for term in terms]
    assert all(shown)
    assert sorted(picture[2] for picture in shown) == sorted(draw.__name__ for draw in glossary.PICTURES)


@pytest.mark.parametrize("wrong", ["missing", "edited since", "somebody's folder"])
def test_a_book_that_cannot_be_made_leaves_everything_as_it_was(wrong, tmp_path, capsys):
    shutil.copytree(ROOT / "notebooks", results := tmp_path / "results")
    (out := tmp_path / "out").mkdir()
    first = min(results.glob("0*.ipynb"))
    if wrong == "missing":
        first.unlink()
    elif wrong == "edited since":
        first.write_text(first.read_text(encoding="utf-8").replace("galaxies", "stars"), encoding="utf-8")
    else:
        (out / "thesis.tex").write_text("years")
    before = sorted(tmp_path.rglob("*"))
    assert main(["--results", str(results), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert (said.count("\n"), "make tutorial" in said) == (1, wrong != "somebody's folder")
    assert sorted(tmp_path.rglob("*")) == before
