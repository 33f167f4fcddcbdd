"""The package and the material as a whole: what importing costs, what is promised and in the repository, timetables."""

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections import namedtuple
from operator import attrgetter
from pathlib import Path

import pytest
from conftest import in_python

import blendkit as bk
from blendkit import session
from tools import glossary
from tools.book import main, slug

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FILES = [path for path in (ROOT / "blendkit").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in FILES if path.suffix == ".py"}
FOLDER = ROOT / "notebooks"
MAP = (ROOT / "docs" / "paper_map.md").read_text(encoding="utf-8")
NOTEBOOKS = {str(path.relative_to(FOLDER)): json.loads(path.read_text()) for path in FOLDER.rglob("*.ipynb")}
LESSONS = {path.stem.partition("_")[0].lstrip("0"): path for path in sorted(FOLDER.glob("[0-9]*.ipynb"))}
HEAVY = {"keras", "tensorflow", "galsim", "sep", "matplotlib", "astropy", "plotly", "anywidget", "ipywidgets", "scipy"}
COMES_WITH = {"h5py": "tensorflow", "ipython": "ipywidgets", "jupyter_client": "nbconvert", "keras": "tensorflow",
              "nbformat": "nbconvert", "mpl_toolkits": "matplotlib", "pil": "matplotlib",
              "traitlets": "ipywidgets"}  # fmt: skip
NETWORKS = {"keras", "tensorflow", "torch", "jax"}


class TestFace:
    @pytest.mark.parametrize(("code", "unwanted"), [
        ("pass", HEAVY),
        ("bk.preflight()", NETWORKS | {"matplotlib"}),  # in the first cell of a notebook
        ("bk.figures.masks_beside, bk.figures.failure_map", NETWORKS | {"plotly", "ipywidgets"}),
        ("bk.weights.shipped()", NETWORKS),
        ("bk.measure(__import__('numpy').ones((2, 64, 64)), {'x': lambda i: {'flux': i[:, 0, :2]}, 'SEP': 'SEP'})",
         NETWORKS),
    ])  # fmt: skip
    def test_nothing_is_loaded_before_it_is_needed(self, code, unwanted):
        code = f"import sys, blendkit as bk; {code}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
        loaded = set(in_python(code).stdout.splitlines()[-1].split())
        assert "blendkit" in loaded
        assert not loaded & unwanted

    def test_its_names_are_listed_and_no_file_hides_one(self):
        assert set(bk.__all__) <= set(dir(bk))
        files = {path.stem for path in (ROOT / "blendkit").iterdir()}
        assert all(inspect.ismodule(getattr(bk, name)) for name in files & set(bk.__all__)), "a file hides a function"
        assert bk.__version__ == PROJECT["project"]["version"]
        for where, name in ((bk, "rendr"), (bk.figures, "figure_99")):
            with pytest.raises(AttributeError, match=f"'{name}'"):
                getattr(where, name)


def public_names():
    """The functions and classes that notebooks and researchers call; those of rooms as "room.name"."""
    found = {name: getattr(bk, name) for name in bk.__all__}
    for room in ("figures", "deblenders", "metrics", "models", "tables"):
        names = getattr(found[room], "__all__", [name for name in vars(found[room]) if not name.startswith("_")])
        found |= {f"{room}.{name}": getattr(found[room], name) for name in names}
    return {name: value for name, value in found.items() if inspect.isroutine(value) or inspect.isclass(value)}


@pytest.mark.parametrize(("name", "value"), public_names().items())
def test_docstrings_begin_with_a_sentence_and_list_what_goes_in(name, value):
    doc = inspect.getdoc(value)
    assert doc, "no docstring"
    assert doc.split("\n\n")[0].endswith((".", ":")), "the first paragraph is no sentence"
    section = re.search(r"^Parameters\n-{10}\n(.*?)(?=^\w[\w ]*\n-+$|\Z)", doc, re.MULTILINE | re.DOTALL)
    if section and "." not in name and inspect.isroutine(value):  # of the face
        lines = re.findall(r"^(\S[^:\n]*)(?: :.*)?$", section[1], re.MULTILINE)
        listed = {word.strip(" *") for words in lines for word in words.split(",")}
        assert set(list(inspect.signature(value).parameters)[1:]) <= listed, "but for what it is all about, the first"


@pytest.mark.parametrize("path", TREES)
def test_imports_are_dependencies_and_no_rooms_secrets(path):
    """What a file imports is installed with the package; of another room, only public names."""
    wanted = {re.match(r"[\w-]+", d)[0].lower() for d in PROJECT["project"]["dependencies"]}
    wanted |= {module for module, through in COMES_WITH.items() if through in wanted} | {"blendkit"}
    for node in ast.walk(TREES[path]):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [] if node.level else [node.module]
            assert node.level < 2 or not [a.name for a in node.names if re.match("_[^_]", a.name)]
        assert {m.split(".")[0].lower() for m in modules} - set(sys.stdlib_module_names) <= wanted


@pytest.fixture(scope="module")
def files():
    """What is in the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository: run the tests in a clone")
    command = ["git", "-C", ROOT, "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    return {name: (ROOT / name).read_bytes() for name in listed if name and (ROOT / name).is_file()}


class TestFiles:
    def test_none_is_large_or_data_of_others(self, files):
        assert not {name: len(content) for name, content in files.items() if len(content) > 4e6}
        assert not [name for name in files if re.search(r"(^|/)candels_|\.fits$|\.npz$", name)]

    def test_no_machine_and_no_registry_is_named(self, files):
        split = ["/ work /", "/ root /", "/ home /", "/ Users /", r"C: \ Users", "py pi .org", "python hosted",
                 "ana conda .org", "art ifactory", "index -url"]  # fmt: skip
        forbidden = [words.replace(" ", "").encode() for words in split]
        assert not [f"{name}: {word}" for name, content in files.items() for word in forbidden if word in content]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_stored_clean(name):
    """No outputs, no widget state, one cell of parameters, and cells that fit on a slide."""
    notebook = NOTEBOOKS[name]
    assert not {"widgets", "papermill"} & set(notebook["metadata"])
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in code:
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        assert not {"papermill", "execution"} & set(cell["metadata"])
        lines = [line for line in "".join(cell["source"]).splitlines() if line.strip()]
        assert len(lines) <= 8, lines
    (tagged,) = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    values = {}
    exec("".join(tagged["source"]), {"__builtins__": {}}, values)
    assert set(values) == {"SAMPLE", "PROFILE", "SEED", "RESULTS"}
    assert (values["SAMPLE"], values["PROFILE"], type(values["SEED"])) == ("synthetic", "tutorial", int)


class TestPreflight:
    @pytest.fixture
    def machine(self, monkeypatch, capsys):
        """A function that gives what preflight says on a machine with so much, and without some packages."""

        def said(sample="synthetic", memory=8, disk=50, lacking=()):
            monkeypatch.setattr(session, "version", lambda package: None if package in lacking else "1.2.3")
            monkeypatch.setattr("psutil.virtual_memory", lambda: namedtuple("memory", "available")(memory * 1e9))
            monkeypatch.setattr(session.shutil, "disk_usage", lambda folder: namedtuple("disk", "free")(disk * 1e9))
            bk.preflight(sample)
            return capsys.readouterr().out.splitlines()

        return said

    def test_one_line_when_all_is_well(self, machine, tmp_path, make_sample):
        for sample in ("synthetic", "candels", make_sample(2).save(tmp_path)):
            (line,) = machine(sample)
            assert line.startswith("All is well: ")

    def test_one_line_for_each_problem(self, machine, tmp_path):
        said = machine(tmp_path, 1, 0.2, ("galsim", "sep"))
        assert not [line for line in said if "All is well" in line]
        for words in ("1.0 GB of memory", "0.2 GB of disk", "galsim, sep cannot be found", "lacks candels_img.npy"):
            assert len([line for line in said if line.startswith("Please note: ") and words in line]) == 1


# what a student has after `pip install .`, in any folder
USE = """
import blendkit as bk
assert bk.__file__.startswith({site!r}), bk.__file__
sample = bk.clean(bk.load_sample("synthetic", n=24, seed=5), n_jobs=1)
bk.BlendExplorer(sample)
for name in bk.weights.shipped():
    bk.deblenders.Network(name)
assert len(bk.tables.reference_scores()) and bk.tables.reference_cases()
bk.preflight()
"""


def test_what_pip_installs_has_networks_explorer_and_tables(tmp_path, monkeypatch):
    build, site = tmp_path / "build", tmp_path / "site"
    build.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, build)
    shutil.copytree(ROOT / "blendkit", build / "blendkit", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", site, build], check=True)
    monkeypatch.chdir(tmp_path)
    done = in_python(USE.format(site=str(site)), PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    assert "All is well" in done.stdout
    assert not [path for path in FILES if not (site / path.relative_to(ROOT)).is_file()]


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


@pytest.mark.parametrize("path", LESSONS.values(), ids=LESSONS)
def test_must_parts_run_without_the_optional_ones(path):
    known, optional = set(), set()
    for must, _, source in parts(path):
        names = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
        made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
        assert not must or not read & optional - made - known, "made in an optional part"
        (known if must else optional).update(made)


def test_timetables_add_up():
    must = {name: sum(n for needed, n, _ in parts(path) if needed) for name, path in LESSONS.items()}
    everything = {name: sum(n for _, n, _ in parts(path)) for name, path in LESSONS.items()}
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
