"""bash run_all.sh as its user runs it, and every command that run_all.sh and the README name."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from common import MODELS, read_json, read_jsonl
from conftest import ROOT


def run_all(*argv, **env):
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    return subprocess.run(["bash", "run_all.sh", *argv], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"PATH": path} | env)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    done = run_all("smoke", ARTIFACTS=str(folder))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "preset smoke" in done.stdout and done.stdout.splitlines()[-1].endswith("report.md")
    return folder


def test_the_report_has_five_tables_and_ten_figures(artifacts):
    report = (artifacts / "report.md").read_text()
    assert [int(n) for n in re.findall(r"^#+ Table (\d)", report, re.M)] == [1, 2, 3, 4, 5]
    figures = sorted(set(re.findall(r"figures/figure\d+\.png", report)))
    assert len(figures) == 10 and all((artifacts / f).stat().st_size > 5000 for f in figures)
    for number in ("0.096 ± 0.100", "0.468", "0.720 ± 0.351", "0.641 ± 0.090", "Neutral (0.452)"):
        assert number in report  # the paper's
    assert "nan" not in report.lower() and "None" not in report


def test_explanations_open_in_pandas_and_add_up(artifacts):
    shap = pandas.read_json(artifacts / "explanations/kd_tinybert_42.shap.jsonl", lines=True)
    assert len(shap) == 10 and (shap["label"].value_counts() == 2).all()
    for row in shap.to_dict("records"):
        phi = row["attributions"] + row["special_attributions"] + [row["base_values"]]
        total = pandas.DataFrame(phi).sum()
        assert list(total) == pytest.approx(row["probabilities"], abs=1e-5)


def test_the_same_commands_complete_what_a_kill_left(artifacts, tmp_path, call, monkeypatch):
    def content(folder):
        names = ("tables/*.jsonl", "measures/*.jsonl")
        return {p.name: p.read_bytes() for name in names for p in folder.glob(name)
                if p.name != "models.jsonl"}  # which has the seconds that a training took

    copy = tmp_path / "copy"
    shutil.copytree(artifacts, copy)
    shutil.rmtree(copy / "models" / "kd_tinybert_42")  # killed in training
    (copy / "models" / ".kd_tinybert_42.partial").mkdir()
    path = copy / "explanations/bert_42.ig.jsonl"  # killed while explaining
    path.write_bytes(path.read_bytes()[:-100])
    monkeypatch.chdir(ROOT)
    for record in read_jsonl(artifacts / "runs.jsonl"):
        argv = [str(copy) if flag == str(artifacts) else flag for flag in record["argv"]]
        status, _, err = call(record["stage"][:2], *argv)
        assert status == 0, err
    assert content(copy) == content(artifacts)
    stamp = "models/kd_tinybert_42/stamp.json"
    assert read_json(artifacts / stamp)["weights"] == read_json(copy / stamp)["weights"]


def test_a_stage_that_is_run_wrongly_says_so_in_one_line(artifacts, call, smoke):
    for number, flags, says in (
            ("03", ["--model", "nobody", "--per-class", "2"], "there is no model nobody_42"),
            ("02", ["--checkpoint", smoke, "--alpha", "0.1"], "alpha (0.5, now 0.1)"),
            ("03", ["--model", "bert", "--per-class", "3"], "subset.jsonl holds other sentences")):
        data = ["--data", ROOT / "standins" / "smoke" / "text"]
        status, _, err = call(number, "--artifacts", artifacts, *data, *flags)
        assert status == 2 and says in err and err.count("\n") == 1


def commands_of(preset, folder):
    """What run_all.sh would run on two GPUs, with artifacts in folder/a b; nothing is run."""
    fake, log = folder / "python3", folder / "log"
    fake.write_text("""#!/bin/sh
case "$1" in -c) echo 2;; tests/*) ;; *) echo "$@" >> "$LOG";; esac
""")
    fake.chmod(0o755)
    log.write_text("")
    env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "LOG": str(log),
           "EXTRA": "kd_twice kd_perturbed kd_hidden", "BERT": "a folder/it's bert",
           "ARTIFACTS": str(folder / "a b")}
    done = subprocess.run(["bash", "run_all.sh", preset], cwd=ROOT, env=os.environ | env,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return log.read_text().replace("/a b", "/a_b").splitlines()


def test_after_an_interruption_the_first_report_is_not_drawn_again(tmp_path):
    """04 would refuse what is half-explained of a later seed, and end the run."""
    def stages():
        return [line[:2] for line in commands_of("paper", tmp_path) if line[:2] in ("04", "06")]

    assert stages() == ["04", "06"] * 3  # a stand-in draws none
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "report.md").write_text("")
    assert stages() == ["04", "06"]


def test_every_command_is_parsed_by_its_script(scripts, tmp_path):
    texts = [ROOT / "README.md", *Path(ROOT).glob("0[1-6]_*.py")]
    said = [line for text in texts for line in re.findall(r"python (0\d_.*)", text.read_text())]
    run = commands_of("paper", tmp_path) + commands_of("cpu", tmp_path)
    assert len(said) > 12 and len(run) > 50
    for line in said + run:
        script, *argv = re.sub(r" {2,}.*|`.*", "", line).split()
        if "folder/it's" not in argv:  # the argument with a space, whose quotes this line has lost
            scripts[script[:2]].parse_args(argv)
    assert sum("--checkpoint a folder/it's bert" in line for line in run) == 3
    by_lime = {line.split()[2] for line in run if " lime " in line}
    assert by_lime == {*MODELS}
    assert all("--seed 42" in line for line in run if " lime " in line)  # the first seed only
    trained = [line for line in run if line[:2] in ("01", "02")]
    for seed in (42, 43, 44):  # paper: BERT and each further model once a seed
        assert sum(f"--seed {seed} --data SetFit/sst5" in line for line in trained) == 8
    cpu = [line for line in trained if "SetFit" not in line]  # one seed, and BERT of the next one
    assert sum("--seed 42" in line for line in cpu) == 7
    assert [line.split()[2] for line in cpu if "--seed 43" in line] == ["bert"]
    explained = [line for line in run if line[:2] == "03" and "SetFit" not in line]
    assert [line.split()[2] for line in explained if "--seed 43" in line] == ["bert"]


def test_a_run_is_recorded(artifacts):
    records = read_jsonl(artifacts / "runs.jsonl")
    assert {record["stage"][:2] for record in records} == {"01", "02", "03", "04", "05", "06"}
    assert all(record["seconds"] >= 0 for record in records)
