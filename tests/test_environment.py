"""The set-up's decision: what is lacking, what pip is asked for, and what is refused."""
import subprocess
import sys
from types import SimpleNamespace

import environment
import pytest

REQUIREMENTS = ["# a comment", "torch>=2.6", "datasets>=3.0  # another", "", "lime==0.2.0.1"]
THERE = {"torch": "2.10.0+cu128", "datasets": "2.14.4", "huggingface-hub": "0.33.2"}


@pytest.fixture
def pip(monkeypatch):
    """What pip was asked for, and the constraints that it was given; pip itself does not run."""
    asked = SimpleNamespace(arguments=[], held=[], output="", returncode=0)

    def run(command, **_):
        asked.arguments = command[len(environment.PIP):]
        if "-c" in asked.arguments:
            asked.held = open(asked.arguments[1]).read().split()
        return SimpleNamespace(returncode=asked.returncode, stdout=asked.output, stderr="")
    monkeypatch.setattr(environment.subprocess, "run", run)
    return asked


def test_lacking_is_what_is_missing_or_out_of_range():
    assert environment.lacking(REQUIREMENTS, THERE) == ["datasets>=3.0", "lime==0.2.0.1"]
    assert environment.lacking(REQUIREMENTS, THERE | {"datasets": "4.0.0", "lime": "0.2.0.1"}) == []


def test_kaggle_gets_only_what_it_lacks_and_keeps_the_rest(pip):
    environment.install(["datasets>=3.0", "lime==0.2.0.1"], THERE, kaggle=True)
    assert pip.arguments[2:] == ["datasets>=3.0", "lime==0.2.0.1"]
    assert pip.held == ["torch==2.10.0+cu128", "huggingface-hub==0.33.2"]


def test_elsewhere_what_is_lacking_is_installed_and_the_tested_torch(pip, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX", "https://example.org/cpu")
    environment.install(["torch>=2.6", "lime==0.2.0.1"], {}, kaggle=False)
    assert pip.arguments == [environment.TORCH, "lime==0.2.0.1", "--extra-index-url",
                             "https://example.org/cpu"]
    environment.install(["pytest>=8"], THERE, kaggle=False)
    assert pip.arguments[0] == "pytest>=8"  # torch is there


NO_VERSION = ("ERROR: Could not find a version that satisfies the requirement datasets>=3.0 (from "
              "versions: none)\nERROR: No matching distribution found for datasets>=3.0\n")


@pytest.mark.parametrize("output, words", [
    ("The conflict is caused by:\n  datasets 4.0.0 depends on huggingface-hub>=0.24\n"
     "  The user requested (constraint) huggingface-hub==0.20.1\n", ["huggingface-hub==0.20.1",
                                                        "-U 'transformers<6' 'datasets>=3.0'"]),
    (f"WARNING: Retrying after connection broken by 'NewConnectionError: refused'\n{NO_VERSION}",
     ["Internet on"]),
    (NO_VERSION, ["No matching distribution", "pip config list"]),  # PIP_ONLY_BINARY
    ("ERROR: Could not install packages: No space left on device\n", ["No space left"]),
    ("/usr/bin/python: No module named pip\n", ["-m ensurepip"]),
])
def test_what_pip_refuses_is_one_line(pip, capsys, output, words):
    pip.returncode, pip.output = 1, output
    with pytest.raises(SystemExit) as stopped:
        environment.install(["datasets>=3.0"], THERE, kaggle=True)
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.count("\n") == 1
    assert all(word in err for word in words)


def test_a_constraint_of_the_users_is_named(pip, capsys):
    pip.returncode, pip.output = 1, "  The user requested (constraint) numpy==1.24.4\n"
    with pytest.raises(SystemExit):
        environment.install(["numpy>=1.26"], {}, kaggle=False)
    err = capsys.readouterr().err
    assert "constraint numpy==1.24.4" in err and "pip install" not in err


def test_a_broken_package_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_package.py").write_text("raise ImportError('pyarrow requires NumPy 2.0')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit):
        environment.try_imports(["json", "broken_package"])
    err = capsys.readouterr().err
    assert "the installation is broken" in err and "broken_package" in err and "NumPy 2.0" in err


def test_this_python_lacks_nothing():
    done = subprocess.run([sys.executable, environment.__file__, "test"], capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout) == (0, "")
