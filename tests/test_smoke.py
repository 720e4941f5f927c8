"""bash run_all.sh smoke, whole, as a user runs it; then a stage alone; then the same again."""
import json
import os
import re
import shutil
import subprocess
import sys

import pandas
import pytest
from conftest import ROOT

import common


def run_all(*argv, **env):
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    return subprocess.run(["bash", "run_all.sh", *argv], cwd=ROOT, env=os.environ | {"PATH": path, **env}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    done = run_all("smoke", ARTIFACTS=str(folder))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.startswith("preset smoke (asked for)") and "report.md" in done.stdout.splitlines()[-1]
    return folder


def test_the_report_holds_five_tables_and_nine_figures(artifacts):
    report = (artifacts / "report.md").read_text()
    assert [int(n) for n in re.findall(r"^### Table (\d)", report, re.M)] == [1, 2, 3, 4, 5]
    figures = re.findall(r"\((figures/figure\d\.png)\)", report)
    assert len(figures) == 9 and all((artifacts / f).stat().st_size > 5000 for f in figures)
    assert all((artifacts / f.replace("png", "pdf")).is_file() for f in figures)
    for said in ("0.096 ± 0.100", "0.468", "0.720 ± 0.351", "0.641 ± 0.090", "Neutral (0.452)", "0.541"):  # the paper's
        assert said in report
    assert "nan" not in report.lower() and "None" not in report


def test_explanations_are_records_that_add_up(artifacts):
    shap = pandas.read_json(artifacts / "explanations" / "kd_tinybert.shap.jsonl", lines=True)
    subset = pandas.read_json(artifacts / "subset.jsonl", lines=True)
    assert len(shap) == 10 and list(shap["id"]) == list(subset["id"]) and (subset["label"].value_counts() == 2).all()
    for row in shap.to_dict("records"):
        for c in range(5):
            total = row["base_values"][c] + sum(a[c] for a in row["attributions"]) + sum(a[c] for a in row["special_attributions"])
            assert total == pytest.approx(row["probabilities"][c], abs=1e-5)
        assert len(row["tokens"]) == len(row["spans"]) == len(row["attributions"])
    lime = pandas.read_json(artifacts / "explanations" / "bert.lime.jsonl", lines=True)
    for row in lime.to_dict("records"):
        assert len(row["words"]) <= 10
        for word, spans in zip(row["words"], row["spans"]):
            assert all(row["text"][a:b] == word for a, b in spans)


def test_a_model_folder_works_in_a_pipeline(artifacts):
    from transformers import pipeline
    said = pipeline("text-classification", str(artifacts / "models" / "distilbert"), top_k=None)(["a superb film"])[0]
    assert {s["label"] for s in said} == {"very negative", "negative", "neutral", "positive", "very positive"}


def test_again_nothing_is_redone_and_the_tables_are_the_same_bytes(artifacts):
    before = {p: p.read_bytes() for p in sorted(artifacts.glob("tables/*.json")) + sorted(artifacts.glob("*/*.jsonl"))}
    models = {p: p.stat().st_mtime_ns for p in artifacts.glob("models/*/model.safetensors")}
    assert len(before) > 40 and len(models) == 5
    assert run_all("smoke", ARTIFACTS=str(artifacts)).returncode == 0
    assert {p: p.read_bytes() for p in before} == before
    assert {p: p.stat().st_mtime_ns for p in models} == models


def test_the_same_seed_explains_in_the_same_bytes(artifacts, tmp_path):
    shutil.copytree(artifacts, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "explanations")
    text = json.loads((artifacts / "runs.jsonl").read_text().splitlines()[0])["argv"]
    done = subprocess.run([sys.executable, "03_explain.py", "--name", "bert", "--per-class", "2", "--max-evals", "100",
                           "--lime-samples", "200", "--data", text[text.index("--data") + 1], "--artifacts", str(tmp_path / "copy")],
                          cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    for method in ("shap", "lime"):
        name = f"explanations/bert.{method}.jsonl"
        assert (tmp_path / "copy" / name).read_bytes() == (artifacts / name).read_bytes()


def test_explanations_of_other_weights_are_refused(artifacts, tmp_path, call):
    shutil.copytree(artifacts, tmp_path / "copy")
    stamp = tmp_path / "copy" / "models" / "bert" / "stamp.json"
    common.write_json(stamp, common.read_json(stamp, "01") | {"weights": "0" * 64})
    status, _, err = call("04", "--artifacts", tmp_path / "copy", "--data", ROOT / "standins" / "smoke" / "text")
    assert status == 2 and "--overwrite explains them again" in err and err.count("\n") == 1


def test_an_unknown_preset_is_refused():
    done = run_all("gpu")
    assert done.returncode == 2 and done.stderr.strip() == "error: no preset 'gpu'; it is one of paper, cpu, smoke, test"
