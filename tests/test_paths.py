"""Paths through the material: must and optional parts, their minutes, and the timetables that add them up."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {path.stem.partition("_")[0].lstrip("0"): path for path in sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))}


def parts(path):
    """The parts of a notebook: (must, minutes, source of its code); what stands before the first is must, 0 minutes."""
    found = [[True, 0, ""]]
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            found[-1][2] += f"{source}\n"
        elif mark := re.findall(r"^## .*\n\n\*(Must|Optional), (\d+) minutes?\.\*$", source, re.MULTILINE):
            found += [[word == "Must", int(minutes), ""] for word, minutes in mark]
        if "## What you saw" in source:
            return found
    raise AssertionError(f"{path.name} does not end with what was seen")


@pytest.mark.parametrize("path", NOTEBOOKS.values(), ids=NOTEBOOKS)
def test_must_parts_run_without_the_optional_ones(path):
    known, optional = set(), set()
    for must, _, source in parts(path):
        names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
        made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
        assert not must or not read & optional - made - known, "made in an optional part"
        (known if must else optional).update(made)


def test_timetables_add_up():
    must = {name: sum(n for needed, n, _ in parts(path) if needed) for name, path in NOTEBOOKS.items()}
    everything = {name: sum(n for _, n, _ in parts(path)) for name, path in NOTEBOOKS.items()}
    guide = (ROOT / "docs" / "tutor.md").read_text()
    for title, total in (("90 minutes", 90), ("Half a day", 240)):
        timetable = guide.partition(f"### {title}")[2].partition("###")[0]
        rows = re.findall(r"^\| (\d+) \| (.*?) \|", timetable, re.MULTILINE)
        assert sum(int(minutes) for minutes, _ in rows) == total
        for minutes, what in rows:
            for name, much in re.findall(r"notebook (\w+), (must|all)", what):
                needed = (must if much == "must" else everything)[name]
                assert int(minutes) == needed or ("exercise" in what and int(minutes) >= needed + 5), what
    stated = re.findall(r"^\| \[(\w+) · .*?\| (\d+) min \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {name: int(minutes) for name, minutes in stated} == everything
