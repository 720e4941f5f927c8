"""What this Python lacks of requirements.txt, and its installation. run_all.sh calls it.

    python3 tests/environment.py           prints what is lacking, a requirement a line
    python3 tests/environment.py install   installs it
    python3 tests/environment.py gpus      imports the packages and prints the number of GPUs

A further word, test: pytest is needed too. On Kaggle a package that is there keeps its
version if requirements.txt allows that. Where something fails: one line, status 2.
"""
import importlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"
# without a second try pip says nothing of a connection error
PIP = (sys.executable, "-m", "pip", "install", "--retries", "1", "--timeout", "10")
TORCH = "torch==2.13.0"  # tested; the newest may be a CUDA build of several GB, GPU or not


def stop(message):
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def lacking(lines, installed):
    """The lines of a requirements file that installed, {name: version}, does not satisfy."""
    wanted = [line.split("#")[0].strip() for line in lines]
    wanted = [line for line in wanted if line]
    try:
        from packaging.requirements import Requirement
    except ImportError:  # transformers brings it along, so a good deal is lacking
        return wanted
    unmet = []
    for line in wanted:
        need = Requirement(line)
        version = installed.get(need.name)
        if version is None or not need.specifier.contains(version, prereleases=True):
            unmet.append(line)
    return unmet


def install(unmet, installed, kaggle):
    """Runs pip. On Kaggle for what is lacking only, with everything else held at its version."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as held:
        if kaggle:
            names = [re.match(r"[\w.-]+", line)[0] for line in unmet]
            held.writelines(f"{n}=={v}\n" for n, v in installed.items() if n not in names)
            held.flush()
            arguments = ["-c", held.name, *unmet]
        else:
            arguments = [TORCH if line.startswith("torch") else line for line in unmet]
            if os.environ.get("TORCH_INDEX"):
                arguments += ["--extra-index-url", os.environ["TORCH_INDEX"]]
        pip = subprocess.run([*PIP, *arguments], capture_output=True, text=True)
    if pip.returncode:
        stop(why_pip_failed(pip.stdout + pip.stderr, unmet, kaggle))


def why_pip_failed(output, unmet, kaggle):
    """One line from what pip printed."""
    what = ", ".join(unmet)
    held = sorted(set(re.findall(r"\(constraint\) (\S+)", output)))
    if held and not kaggle:
        return (f"pip's constraint {', '.join(held)} does not let it install {what}; 'pip config "
                "list' says where the constraint stands")
    if held:  # pip names where it gave up, which need not be the package that is in the way
        return (f"no {what} goes with what is installed (pip gave up at {', '.join(held)}). To let "
                f"pip change it: pip install -U 'transformers<6' {shlex.join(unmet)}")
    if "from versions: none" in output and "connection broken by" in output:
        return (f"{what} cannot be installed, the package index is out of reach. On Kaggle: "
                "Settings > Internet on")
    if "No module named pip" in output:
        return f"{what} cannot be installed without pip: '{sys.executable} -m ensurepip' adds it"
    lines = output.splitlines() or ["it said nothing"]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
    return f"pip failed: {' '.join(errors)[:300]}; 'pip config list' shows its settings"


def try_imports(names):
    """Finds a broken installation, for example numpy 1.26 beside a pyarrow that needs 2.0."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken binary raises whatever it likes
            reason = " ".join(str(error.__cause__ or error).split())[:200]
            path = os.environ.get("PYTHONPATH")
            hint = f". PYTHONPATH is {path}: try without it" if path else ""
            stop(f"the installation is broken, {name} cannot be imported: {reason}{hint}")


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036
        stop(f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}")
    installed = {}
    for distribution in distributions():  # of two copies the first is the one that is imported
        installed.setdefault(distribution.name, distribution.version)
    unmet = lacking(REQUIREMENTS.read_text().splitlines(), installed)
    if "test" not in sys.argv:
        unmet = [line for line in unmet if not line.startswith("pytest")]
    if "install" in sys.argv:
        install(unmet, installed, kaggle=Path("/kaggle").is_dir())
    elif "gpus" in sys.argv:
        try_imports(("torch", "transformers", "datasets", "shap", "lime"))
        print(sys.modules["torch"].cuda.device_count())
    else:
        print("".join(f"{line}\n" for line in unmet), end="")
