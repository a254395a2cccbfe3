"""What a wheel of the package holds and asks for."""

import email
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata, util
from pathlib import Path

import pytest

import nlp_lstm

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy, which leaves no build folder here, with the setuptools that is installed: nothing is fetched."""
    if not util.find_spec("setuptools") or int(metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("needs setuptools 77, which is not installed")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "nlp_lstm", source / "nlp_lstm", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", str(source), *options, "--wheel-dir", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = out.glob("*.whl")
    with zipfile.ZipFile(found) as opened:
        yield opened


def read(wheel, name):
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode("utf-8")


def test_it_holds_the_whole_package_and_nothing_else(wheel):
    """Every file that is kept under version control: sample data, templates and the mark of typed packages, too."""
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "nlp_lstm").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    known = {"py.typed", "datasets/sample_reviews.tsv", "playground/page/index.html", "main.py"}
    assert {f"nlp_lstm/{name}" for name in known} < here
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == here


def test_it_asks_for_little_and_offers_more(wheel):
    found = email.message_from_string(read(wheel, "METADATA"))
    assert found["Name"] == "nlp_lstm"
    assert found["Version"] == nlp_lstm.__version__
    extras = ["apps", "bench", "bulk", "client", "dev", "docs", "examples", "play", "vectors"]
    assert found.get_all("Provides-Extra") == extras
    asked = found.get_all("Requires-Dist")
    assert {one.split(">")[0].split("<")[0] for one in asked if "extra ==" not in one} == {
        "keras",
        "numpy",
        "tensorflow",
    }
    assert any(one.startswith("cyclopts") and one.endswith('extra == "apps"') for one in asked)


def test_it_brings_the_command(wheel):
    assert "nlp-lstm = nlp_lstm.main:main" in read(wheel, "entry_points.txt")


def test_the_citation_names_this_version():
    assert f"\nversion: {nlp_lstm.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
