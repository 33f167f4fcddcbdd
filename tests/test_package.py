"""The package as a whole: what importing it costs, what it promises, and what is in the repository."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

import blendkit as bk

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("keras", "tensorflow", "galsim", "sep", "matplotlib", "astropy", "plotly", "anywidget", "ipywidgets", "scipy")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = sorted((ROOT / "blendkit").rglob("*.py"))
COMES_WITH = {
    "ipython": "ipywidgets", "jupyter_client": "nbconvert", "keras": "tensorflow", "mpl_toolkits": "matplotlib",
    "nbformat": "nbconvert",
    "pil": "matplotlib", "traitlets": "ipywidgets", "urllib3": "requests",
}  # fmt: skip
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def imported_after(code):
    code = f"import sys; {code}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


class TestImport:
    def test_is_light(self):
        assert not imported_after("import blendkit") & set(HEAVY)

    def test_the_check_sees_heavy_ones(self):
        assert "astropy" in imported_after("import blendkit, astropy")

    def test_names_without_heavy_needs_stay_light(self):
        loaded = imported_after(
            "import blendkit as bk; bk.load_sample, bk.clean, bk.draw_blends, bk.render, bk.deblenders"
        )
        assert not loaded & (set(HEAVY) - {"scipy"})

    @pytest.mark.parametrize("name", bk.__all__)
    def test_every_name_resolves(self, name):
        value = getattr(bk, name)
        assert callable(value) or inspect.ismodule(value)
        assert name in dir(bk)

    def test_the_public_face_is_there(self):
        functions = {"load_sample", "clean", "split", "draw_blends", "render", "export", "preflight"}
        assert functions | {"Sample", "BlendExplorer", "deblenders", "metrics", "figures"} <= set(bk.__all__)
        assert len(bk.__all__) == len(set(bk.__all__))

    def test_unknown_names(self):
        with pytest.raises(AttributeError, match="'blendkit' has no attribute 'rendr'"):
            _ = bk.rendr

    def test_version(self):
        assert bk.__version__ == PROJECT["project"]["version"]


def public_functions():
    """(path, qualified name, node) of every public function, method and class."""
    for path in MODULES:
        pending = [("", node) for node in ast.parse(path.read_text(encoding="utf-8")).body]
        for prefix, node in pending:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                yield path.relative_to(ROOT).as_posix(), prefix + node.name, node
                if isinstance(node, ast.ClassDef):
                    pending.extend((f"{prefix}{node.name}.", child) for child in node.body)


def section(doc, name):
    """The text below one numpydoc heading, or None."""
    found = re.search(rf"^{name}\n-{{{len(name)}}}\n(.*?)(?=^\w[\w ]*\n-+$|\Z)", doc, re.MULTILINE | re.DOTALL)
    return found and found[1]


def arguments(node):
    a = node.args
    every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *([a.vararg] if a.vararg else []), *([a.kwarg] if a.kwarg else [])]
    return [x.arg for x in every if x.arg not in ("self", "cls")]


def is_property(node):
    return any("property" in ast.unparse(d) for d in node.decorator_list)


def returns_something(node):
    if node.returns is not None and ast.unparse(node.returns) in ("None", "NoReturn"):
        return False
    return any(
        isinstance(n, ast.Return | ast.Yield) and n.value is not None and ast.unparse(n) != "return None"
        for n in ast.walk(node)
    )


class TestDocstrings:
    @pytest.mark.parametrize(
        ("path", "name", "node"), [pytest.param(*f, id=f"{f[0]}:{f[1]}") for f in public_functions()]
    )
    def test_one_line_or_complete(self, path, name, node):
        """A sentence is enough where it says all; a longer one has every section that the signature asks for."""
        doc = ast.get_docstring(node)
        assert doc, "no docstring"
        assert doc.split("\n\n")[0].endswith((".", ":")), "the first paragraph is no sentence"
        if isinstance(node, ast.ClassDef):
            return
        parameters = section(doc, "Parameters")
        if parameters is not None:
            listed = {
                n.strip(" *")
                for line in re.findall(r"^(\S[^:\n]*)(?: :.*)?$", parameters, re.M)
                for n in line.split(",")
            }
            assert set(arguments(node)) <= listed
            if returns_something(node):
                assert section(doc, "Returns") or section(doc, "Yields")

    @pytest.mark.parametrize("name", [n for n in bk.__all__ if inspect.isfunction(getattr(bk, n))])
    def test_the_public_face_is_complete(self, name):
        function = getattr(bk, name)
        signature, doc = inspect.signature(function), inspect.getdoc(function)
        if signature.parameters:
            assert section(doc, "Parameters")
        if signature.return_annotation not in ("None", None):
            assert section(doc, "Returns")

    @pytest.mark.parametrize("name", ["SEP"])
    def test_deblenders(self, name):
        deblender = getattr(bk.deblenders, name)
        assert section(inspect.getdoc(deblender), "Parameters")
        assert section(inspect.getdoc(deblender.__call__), "Returns")


class TestEnvironment:
    @pytest.fixture
    def environment(self):
        return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))

    def test_conda_gets_what_pip_gets(self, environment):
        """One list of packages: conda brings Python and pip, and pip reads pyproject.toml."""
        *plain, through_pip = environment["dependencies"]
        assert plain == [f"python{PROJECT['project']['requires-python']}", "pip"]
        assert set(through_pip) == {"pip"}
        (install,) = through_pip["pip"]
        found = re.fullmatch(r"-e \.(?:\[(.+)\])?", install)
        assert found, install
        extras = (found[1] or "").split(",") if found[1] else []
        assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])

    def test_everyone_asks_for_the_same_python(self):
        low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["project"]["requires-python"]).groups()
        expected = f"(3, {low}) <= sys.version_info < (3, {high})"
        for name in ("Makefile", "blendkit/preflight.py"):
            text = (ROOT / name).read_text(encoding="utf-8")
            found = re.findall(r"\(3, \d+\) <= sys\.version_info(?:\[:2\])? < \(3, \d+\)", text)
            assert found, name
            assert set(found) == {expected}, name
        assert PROJECT["tool"]["ruff"]["target-version"] == f"py3{low}"

    def test_the_extras(self):
        assert {"gpu", "test"} <= set(PROJECT["project"]["optional-dependencies"])

    def test_packages_and_their_files_are_listed(self):
        listed = PROJECT["tool"]["setuptools"]["packages"]
        assert {p.parent.relative_to(ROOT).as_posix().replace("/", ".") for p in MODULES} == set(listed)
        data = PROJECT["tool"]["setuptools"]["package-data"]
        for path in (ROOT / "blendkit").rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                package = path.parent.relative_to(ROOT).as_posix().replace("/", ".")
                assert any(path.match(pattern) for pattern in data.get(package, [])), f"{path.name} is not installed"

    def test_imports_are_dependencies(self):
        """What the package imports is in the standard library, in the list of dependencies, or the package itself."""
        wanted = {re.match(r"[\w-]+", d)[0].lower() for d in PROJECT["project"]["dependencies"]}
        wanted |= {module for module, through in COMES_WITH.items() if through in wanted}
        for path in MODULES:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                modules = []
                if isinstance(node, ast.Import):
                    modules = [a.name for a in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    modules = [node.module]
                for module in {m.split(".")[0] for m in modules} - set(sys.stdlib_module_names) - {"blendkit"}:
                    assert module.lower() in wanted, f"{module} in {path.name}"


@pytest.fixture(scope="module")
def files():
    """What is in the repository."""
    command = ["git", "-C", ROOT, "ls-files", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git repository: run the tests in a clone")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


class TestFiles:
    def test_none_is_large(self, files):
        assert files
        assert not [f"{f.name}: {f.stat().st_size / 1e6:.1f} MB" for f in files if f.stat().st_size > 4e6]

    def test_no_data_of_others(self, files):
        assert not [f for f in files if f.name.startswith("candels_") or f.suffix in (".fits", ".npz")]

    def test_no_machine_and_no_registry_is_named(self, files):
        places = [
            ("/", "work", "/"),
            ("/", "root", "/"),
            ("/", "home", "/"),
            ("/", "Users", "/"),
            ("C:", "\\", "Users"),
        ]
        hosts = [
            ("py", "pi", ".org"),
            ("python", "hosted"),
            ("ana", "conda", ".org"),
            ("art", "ifactory"),
            ("index", "-url"),
        ]
        forbidden = ["".join(parts) for parts in places + hosts]
        found = []
        for file in files:
            try:
                text = file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            found += [f"{file.relative_to(ROOT)}: {word}" for word in forbidden if word in text]
        assert not found

    def test_text_is_clean(self, files):
        """No conflict markers, no carriage returns."""
        for file in files:
            if file.suffix in (".py", ".md", ".toml", ".yml", ".js", ".css", ".ipynb"):
                content = file.read_bytes()
                assert b"\r" not in content, file
                assert not re.search(rb"^(<{7}|>{7}) ", content, re.MULTILINE), file


@pytest.mark.skipif(not NOTEBOOKS, reason="there are no notebooks yet")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
class TestNotebooksAreStoredClean:
    @staticmethod
    def read(path):
        return json.loads(path.read_text(encoding="utf-8"))

    def test_no_outputs(self, path):
        for cell in self.read(path)["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == []
                assert cell["execution_count"] is None
            assert "papermill" not in cell["metadata"]
            assert "execution" not in cell["metadata"]

    def test_no_widget_state(self, path):
        metadata = self.read(path)["metadata"]
        assert not {"widgets", "papermill"} & set(metadata)

    def test_kernel(self, path):
        assert self.read(path)["metadata"]["kernelspec"]["name"] == "python3"

    def test_parameters(self, path):
        tagged = [c for c in self.read(path)["cells"] if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1
        assert tagged[0]["cell_type"] == "code"
        values = {}
        exec("".join(tagged[0]["source"]), {"__builtins__": {}}, values)
        assert set(values) == {"SAMPLE", "PROFILE", "SEED", "RESULTS"}
        assert values["PROFILE"] == "tutorial"
        assert values["SAMPLE"] == "synthetic"
        assert isinstance(values["SEED"], int)


class TestPreflight:
    @pytest.fixture
    def preflight(self, monkeypatch):
        """The function on a machine that has everything; and what to change to take something away."""
        module = importlib.import_module("blendkit.preflight")
        memory = namedtuple("memory", "available")
        disk = namedtuple("disk", "free")
        monkeypatch.setattr(module, "_version", lambda package: "1.2.3")
        monkeypatch.setattr("psutil.virtual_memory", lambda: memory(8e9))
        monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: disk(50e9))

        def change(memory_gb=8, disk_gb=50, lacking=()):
            monkeypatch.setattr(module, "_version", lambda package: None if package in lacking else "1.2.3")
            monkeypatch.setattr("psutil.virtual_memory", lambda: memory(memory_gb * 1e9))
            monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: disk(disk_gb * 1e9))

        module.preflight.change = change
        return module.preflight

    def lines(self, capsys):
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.splitlines()

    @pytest.mark.parametrize("sample", ["synthetic", "candels", "folder"])
    def test_one_line_when_all_is_well(self, preflight, capsys, tmp_path, make_sample, sample):
        assert preflight(make_sample(2).save(tmp_path) if sample == "folder" else sample) is None
        (line,) = self.lines(capsys)
        assert line.startswith("All is well: ")
        for said in (bk.__version__, "Python 3.", "Keras 1.2.3", "sample: ", "memory", "disk"):
            assert said in line

    @pytest.mark.parametrize("sample", ["nowhere", "empty"])
    def test_no_sample(self, preflight, capsys, tmp_path, sample):
        (tmp_path / "empty").mkdir()
        preflight(tmp_path / sample)
        first, problem = self.lines(capsys)
        assert "All is well" not in first
        assert problem.startswith("Please note: the sample folder")
        for said in (sample, "candels_img.npy", "candels_seg.npy", "candels_cat.csv", "correct SAMPLE", "'synthetic'"):
            assert said in problem

    def test_what_it_accepts_can_be_loaded(self, preflight, capsys, hst_folder):
        preflight(hst_folder)
        assert "All is well" in self.lines(capsys)[0]
        assert len(bk.load_sample(hst_folder)) == 96

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"memory_gb": 1}, ("1.0 GB of memory", "close other programs")),
            ({"disk_gb": 0.2}, ("0.2 GB of disk", "BLENDKIT_DATA")),
            ({"lacking": ("galsim", "sep")}, ("galsim, sep cannot be found", "pip install")),
        ],
    )
    def test_one_line_for_each_problem(self, preflight, capsys, change, said):
        preflight.change(**change)
        preflight()
        _, problem = self.lines(capsys)
        assert problem.startswith("Please note: ")
        assert problem.endswith(".")
        for words in said:
            assert words in problem

    def test_all_at_once(self, preflight, capsys, tmp_path):
        preflight.change(1, 0.1, ("keras",))
        preflight(tmp_path)
        assert len(self.lines(capsys)) == 5

    def test_it_loads_no_network_library(self):
        loaded = imported_after(
            "import blendkit as bk, io, contextlib\n"
            "with contextlib.redirect_stdout(io.StringIO()):\n bk.preflight()\n"
            "import sys"
        )
        assert not loaded & {"keras", "tensorflow", "torch", "jax", "matplotlib", "galsim"}

    def test_profiles(self):
        assert bk.profile("quick").galaxies == 200
        assert bk.profile("paper").galaxies is None
        assert bk.profile("quick").blends < bk.profile("tutorial").blends < bk.profile("paper").blends
        with pytest.raises(ValueError, match=r"'fast' was asked for, expected one of quick, tutorial, paper\.$"):
            bk.profile("fast")
