"""bash run_all.sh as its user runs it, and every command that run_all.sh and the README name."""
import fcntl
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pandas
import pytest
from common import MODELS
from conftest import ROOT


@pytest.fixture(scope="module")
def done(smoke_run):
    run, log = smoke_run
    assert run.wait() == 0, log.read_text()[-6000:]
    return log.read_text()


@pytest.fixture(scope="module")
def artifacts(done):
    assert "preset smoke" in done
    says, _, report = done.splitlines()[-1].partition(": ")
    assert says == "the report" and report.endswith("report.md")
    return Path(report).parent


def test_the_report_has_five_tables_and_its_figures(artifacts):
    report = (artifacts / "report.md").read_text()
    assert [int(n) for n in re.findall(r"^#+ Table (\d)", report, re.M)] == [1, 2, 3, 4, 5]
    figures = set(re.findall(r"figures/\w+\.png", report))
    assert len(figures) == 9 and all((artifacts / f).stat().st_size > 5000 for f in figures)
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


def test_the_same_commands_complete_what_a_kill_left(artifacts, done, tmp_path, call, monkeypatch):
    def content(folder):
        names = ("tables/*.jsonl", "measures/*.jsonl")
        return {p.name: p.read_bytes() for name in names for p in folder.glob(name)
                if not p.name.startswith("models.")}  # which have the seconds of a training

    copy = tmp_path / "copy"
    shutil.copytree(artifacts, copy)
    shutil.rmtree(copy / "models" / "kd_tinybert_42")  # killed in training
    (copy / "models" / ".kd_tinybert_42.partial").mkdir()
    path = copy / "explanations/bert_42.ig.jsonl"  # killed while explaining
    path.write_bytes(path.read_bytes()[:-100])
    monkeypatch.chdir(ROOT)
    commands = re.findall(r"^--- \d+ of 22: (.*)", done, re.M)
    assert len(commands) == 22
    for line in commands:
        _, script, *flags = shlex.split(line)
        argv = [str(copy) if flag == str(artifacts) else flag for flag in flags]
        status, _, err = call(script[:2], *argv)
        assert status == 0, err
    assert content(copy) == content(artifacts)
    weights = "models/kd_tinybert_42/model.safetensors"
    assert (artifacts / weights).read_bytes() == (copy / weights).read_bytes()


def test_a_stage_that_is_run_wrongly_says_so_in_one_line(artifacts, call, smoke):
    text = ROOT / "standins" / "smoke" / "text"
    for number, flags, says in (
            ("03", ["--model", "nobody", "--per-class", "2"], "there is no model nobody_42"),
            ("02", ["--checkpoint", smoke, "--alpha", "0.1"], "alpha 0.5, not 0.1"),
            ("02", ["--checkpoint", smoke / "random-bert", "--epochs", "6", "--learning-rate",
                    "3e-3", "--seed", "43"], "kd_tinybert of this run has checkpoint_digest"),
            ("01", ["--model", "bert", "--checkpoint", smoke / "random-bert", "--seed", "44"],
             "has epochs 6, not 10"),
            ("03", ["--model", "bert", "--per-class", "3"], "subset of this run has per_class 2")):
        status, _, err = call(number, "--artifacts", artifacts, "--data", text, *flags)
        assert status == 2 and says in err and err.count("\n") == 1
    status, _, err = call("04", "--artifacts", artifacts, "--data", smoke / "text")
    assert status == 0, err  # the same text in another folder


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    done = subprocess.run(["bash", "run_all.sh", "smoke"], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"ARTIFACTS": str(tmp_path)})
    os.close(folder)
    assert done.returncode == 2 and "another run works in" in done.stderr


def commands_of(preset, folder, fails="nothing", gpus=2, **settings):
    """(commands, status, last line on stderr) of run_all.sh on two GPUs, with artifacts in
    folder/a b; no stage is run. fails: a script that ends with status 2."""
    fake, log = folder / "python3", folder / "log"
    fake.write_text(f"""#!/bin/sh
case "$*" in *" gpus") echo {gpus};; tests/*) ;; {fails}*) exit 2;; *) echo "$@" >> "$LOG";; esac
case "$1" in 06*) touch "$ARTIFACTS/report.md";; esac
""")
    fake.chmod(0o755)
    log.write_text("")
    env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "LOG": str(log),
           "ARTIFACTS": str(folder / "a b")} | settings
    done = subprocess.run(["bash", "run_all.sh", preset], cwd=ROOT, env=os.environ | env,
                          capture_output=True, text=True)
    commands = log.read_text().replace("/a b", "/a_b").splitlines()
    return commands, done.returncode, ["", *done.stderr.splitlines()][-1]


def test_an_old_report_is_not_shown_for_new(tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "report.md").write_text("of an earlier run")
    commands, status, last = commands_of("paper", tmp_path, LAUNCH="true")
    assert (commands, status) == ([], 2) and "a b/report.md" in last


def test_a_tilde_in_a_path_is_the_home_folder(tmp_path):
    home = tmp_path / "of A&B"
    (home / "text").mkdir(parents=True)
    commands, status, last = commands_of("paper", tmp_path, HOME=str(home), DATA="~/text",
                                         ARTIFACTS="~/art")
    assert status == 0 and commands[0].endswith(f" --data {home}/text --artifacts {home}/art"), last


def test_a_lock_that_the_file_system_has_not_is_no_error(tmp_path):
    program(tmp_path / "flock", "exit 65")
    commands, status, last = commands_of("paper", tmp_path, SUBSET_SEED="43")
    assert status == 0, last
    assert all(" --subset-seed 43 " in line for line in commands if line[:2] == "03")


def test_a_sourced_run_does_not_end_the_users_shell():
    done = subprocess.run(["bash", "-c", "source run_all.sh gpu; echo alive"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.stdout == "alive\n" and "no preset 'gpu'" in done.stderr


def program(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


@pytest.mark.skipif(Path("/kaggle").is_dir(), reason="makes no .venv")
@pytest.mark.parametrize("python, status, kept", [
    ('case "$*" in *gpus) echo 0;; *" pip "*) exit 1;; esac', 0, ".venv"),  # complete, of uv
    ("exit 127", 2, ".venv-*")])  # of a Python that is not there now
def test_a_venv_of_the_users_is_used_or_set_aside(tmp_path, python, status, kept):
    shutil.copy(ROOT / "run_all.sh", tmp_path)
    program(tmp_path / "python3", 'case "$1" in tests/*) echo torch;; *) exit 1;; esac')
    program(tmp_path / ".venv/bin/python", python)
    env = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "run_all.sh", "test"], cwd=tmp_path, env=env)
    assert done.returncode == status and len([*tmp_path.glob(f"{kept}/bin/python")]) == 1


def test_a_failed_stage_ends_the_run_and_is_named_last(tmp_path):
    commands, status, last = commands_of("paper", tmp_path, fails="02_distill.py")
    assert status == 2 and last.startswith("error: a stage failed")
    assert {line[:2] for line in commands} <= {"03", "01"}


@pytest.mark.parametrize("setting, value, says", [
    ("DISTILBERT", "/missing", "/missing is not a folder"),
    ("TINYBERT", '"/x/y"', "begins with a quote")])
def test_the_paths_of_a_preset_are_checked_first(tmp_path, setting, value, says):
    commands, status, last = commands_of("paper", tmp_path, **{setting: value})
    assert (commands, status) == ([], 2) and says in last


def test_the_first_seed_and_its_report_come_first(tmp_path):
    commands, _, _ = commands_of("paper", tmp_path, SEEDS="9\t5  7")
    stages = [line.split() for line in commands]
    first = [words[0][:2] for words in stages].index("06") + 1

    def models(stage, part):
        return {f"{words[words.index('--model') + 1]}_{words[words.index('--seed') + 1]}"
                for words in part if words[0][:2] == stage and "--model" in words}

    students = {"distilbert", "kd_tinybert", "kd_aligned", "tinybert_ce"}
    of_5 = {"bert_5", *(f"{model}_5" for model in students)}  # the smallest comes first
    of_7_and_9 = {f"{name[:-1]}{seed}" for name in of_5 for seed in (7, 9)}
    for part, own, berts in ((stages[:first], of_5, {"bert_6"}),
                             (stages[first:], of_7_and_9, {"bert_8", "bert_10"})):
        assert models("01", part) | models("02", part) == models("03", part) == own | berts
    assert models("04", stages[:first]) == of_5 | {"bert_6"}
    assert models("05", stages[:first]) == of_5
    assert models("04", stages[first:]) == of_5 | of_7_and_9 | {"bert_6", "bert_8", "bert_10"}
    assert [words[0][:2] for words in stages].count("06") == 2 and stages[-1][0][:2] == "06"


def test_launch_stands_before_every_stage(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    launch, launched = tmp_path / "launch", tmp_path / "launched"
    launch.write_text("""#!/bin/sh
shift
echo "${LOCAL_RANK-}${OMP_NUM_THREADS-}${OMP_PROC_BIND-}" "$@" >> "$LAUNCHED"; exec "$@"
""")
    launch.chmod(0o755)
    commands, status, _ = commands_of("cpu", tmp_path, gpus=0, LAUNCH=f"{launch} -N1",
                                      LAUNCHED=str(launched), OMP_PROC_BIND="true")
    assert status == 0 and len(commands) == 22
    seen = launched.read_text().replace("/a b", "/a_b").splitlines()
    assert sorted(seen) == sorted(f" python3 {line}" for line in commands)  # no rank, no threads


def test_students_of_fewer_layers_and_without_lime(tmp_path):
    for preset, extra, checkpoint in (
            ("paper", "kd_4layer", "huawei-noah/TinyBERT_General_4L_312D"),
            ("base", "kd_2layer_perturbed", "standins/base/MPNet-L2 --perturb-rate 1")):
        commands, _, _ = commands_of(preset, tmp_path, gpus=0, EXTRA=extra, SEEDS="7")
        trained = [line for line in commands if f"--model {extra} " in line and line[:2] == "02"]
        assert len(trained) == 1 and f"--checkpoint {checkpoint} " in trained[0]
        assert any(" lime" in line for line in commands) == (preset == "paper")


def test_every_command_is_parsed_by_its_script(scripts, tmp_path):
    texts = [ROOT / "README.md", *Path(ROOT).glob("0[1-6]_*.py")]
    said = [line for text in texts for line in re.findall(r"python (0\d_.*)", text.read_text())]
    settings = {"EXTRA": "kd_soft kd_twice kd_perturbed kd_hidden", "BERT": "a model/it's bert"}
    paper, cpu = (commands_of(preset, tmp_path, **settings)[0] for preset in ("paper", "cpu"))
    assert len(said) > 12 and len(paper) > 70 and len(cpu) > 25
    for line in said + paper + cpu:
        script, *argv = re.sub(r" {2,}.*|`.*", "", line).split()
        if "model/it's" not in argv:  # the argument with a space, whose quotes this line has lost
            scripts[script[:2]].parse_args(argv)
    trained = [line for line in paper if line[:2] in ("01", "02")]
    assert sum("--checkpoint a model/it's bert" in line for line in trained) == 5  # 43 twice
    for seed in (42, 44):  # BERT and each further model once a seed
        assert sum(f"--seed {seed} --data SetFit/sst5" in line for line in trained) == 9
    by_lime = [line for line in paper if " lime " in line]  # of the first seed only
    assert {line.split()[2] for line in by_lime} == {*MODELS}
    assert all("--seed 42" in line for line in by_lime)
    trained = [line for line in cpu if line[:2] in ("01", "02")]  # one seed, and another BERT
    assert sum("--seed 42" in line for line in trained) == 8
    for stage in ("01", "03"):
        of_43 = [line for line in cpu if line[:2] == stage and "--seed 43" in line]
        assert len(of_43) == 1 and "--model bert " in of_43[0]
