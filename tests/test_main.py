"""The console command: the apps under one name, and what it says where their packages are missing."""

import subprocess
import sys
from pathlib import Path

import pytest

import nlp_lstm
from nlp_lstm import cli
from nlp_lstm.main import main

ROOT = Path(__file__).parents[1]


def run_python(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("app", ["sentiment", "char-lm", "translation"])
def test_help_names_what_was_called(app, capsys):
    assert main([app, "--help"]) == 0
    assert f"Usage: nlp-lstm {app} COMMAND" in capsys.readouterr().out
    assert main([app, "export", "--help"]) == 0
    assert f"Usage: nlp-lstm {app} export" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert f" {app} " in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{nlp_lstm.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "program", "told"),
    [
        (["translate"], "nlp-lstm", "translate"),
        (["char_lm", "score"], "nlp-lstm", "char_lm"),
        (["char-lm", "nonsense"], "nlp-lstm char-lm", "nonsense"),
        (["char-lm", "generate", "--length", "0"], "nlp-lstm char-lm", "--length is 0"),
        (["translation", "translate", "--nonsense"], "nlp-lstm translation", "--nonsense"),
        (["sentiment", "export", "--run", "a"], "nlp-lstm sentiment", "--to"),
        (["sentiment", "predict", "--model", "a", "--run", "b", "text"], "nlp-lstm sentiment", "--model and --run"),
    ],
)
def test_a_mistake_is_told_by_the_name_that_was_called(arguments, program, told, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{program}: ")
    assert told in err
    assert err.count("\n") == 1


def test_the_apps_keep_their_own_names(capsys):
    from nlp_lstm.char_lm.commands import app

    assert main(["char-lm", "nonsense"]) == 2
    assert cli.run(app, ["nonsense"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.removeprefix("nlp-lstm char-lm: ") == second.removeprefix("char_lm: ")


@pytest.mark.parametrize(
    ("app", "verb"), [("sentiment", "predict"), ("char-lm", "score"), ("translation", "translate")]
)
def test_without_shipped_models(app, verb, monkeypatch, tmp_path, capsys):
    """As where the package was installed alone."""
    monkeypatch.setattr(cli, "SHIPPED_MODELS", tmp_path / "saved_models")
    assert main([app, verb, "a text"]) == 2
    told = f"saved_models/{app.replace('-', '_')}"
    assert told in capsys.readouterr().err


def test_as_a_module():
    done = run_python("-m", "nlp_lstm", "char-lm", "generate", "--length", "none")
    assert done.returncode == 2
    assert done.stderr.startswith("python -m nlp_lstm char-lm: ")


def test_without_the_packages_of_the_apps():
    script = "import sys; sys.modules['cyclopts'] = None; from nlp_lstm.main import main; sys.exit(main(['--help']))"
    done = run_python("-c", script)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("nlp-lstm: ")
    assert done.stderr.endswith('pip install "nlp_lstm[apps]"\n')
