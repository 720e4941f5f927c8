"""The Hugging Face Hub: loading from it and from its cache, and what a user reads without it.

Where the libraries ask a Hub it is in a process, for they read HF_ENDPOINT when they are imported.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import fake_hub
from test_inputs import one_line

import common

TINYBERT = "huawei-noah/TinyBERT_General_6L_768D"
TRAIN = ["01", "--model", "bert", "--checkpoint", "bert-base-uncased", "--data", "SetFit/sst5",
         "--epochs", "1", "--batch-size", "256"]
LOAD = """\
import common, sys
print(len(common.load_splits("SetFit/sst5")["train"]))
for checkpoint in sys.argv[1:]:
    print(type(common.load_encoder(checkpoint, seed=42)[0]).__name__)
"""


@pytest.fixture(scope="module")
def repositories(smoke, tmp_path_factory):
    """The smoke preset under the real names. As on the Hub, the text has dev.jsonl."""
    text = shutil.copytree(smoke / "text", tmp_path_factory.mktemp("sst5") / "text")
    (text / "validation.jsonl").rename(text / "dev.jsonl")
    return {"SetFit/sst5": text, "bert-base-uncased": smoke / "random-bert",
            TINYBERT: smoke / "random-tinybert"}


@pytest.fixture
def python(tmp_path):
    """python(arguments, endpoint, ...) -> (exit status, stdout, stderr) of a process with this Hub,
    and with a cache that is empty at the start of the test."""
    def _python(arguments, endpoint, **settings):
        env = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache")} | settings
        done = subprocess.run([sys.executable, *arguments], cwd=Path(common.__file__).parent,
                              env=env, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr
    return _python


def test_training_from_the_hub_then_loading_from_its_cache(repositories, python, tmp_path):
    with fake_hub(repositories) as hub:
        status, out, err = python(["01_train.py", *TRAIN[1:], "--artifacts", tmp_path], hub.url)
    assert status == 0 and "280 training sentences" in out, err
    assert "Retry" not in err and "card" not in err and "Traceback" not in err
    for name in ("SetFit/sst5", "bert-base-uncased"):
        assert any(f"{name}/resolve/{common.REVISIONS[name]}" in path for path in hub.asked)
    settings = common.read_json(tmp_path / "settings/bert.json")
    assert common.REVISIONS["bert-base-uncased"] in settings["checkpoint_digest"]
    result = python(["-c", LOAD, "bert-base-uncased"], hub.url, HF_HUB_OFFLINE="1")
    assert result == (0, "280\nBertForSequenceClassification\n", "")


def test_tinybert_with_its_old_files_loads_and_a_hub_that_then_dies_is_one_line(
        repositories, python):
    with fake_hub(repositories, dies_at="bert-base-uncased/resolve") as hub:
        status, out, err = python(["-c", LOAD, TINYBERT, "bert-base-uncased"], hub.url)
    assert out == "280\nBertForSequenceClassification\n", err
    assert any(path.endswith("pytorch_model.bin") for path in hub.asked)
    one_line(status, err, "bert-base-uncased", "Internet on", "--checkpoint DIR")


def test_without_a_network_it_is_one_line(python, tmp_path):
    result = python(["01_train.py", *TRAIN[1:], "--artifacts", tmp_path], "http://127.0.0.1:9",
                    HF_HUB_OFFLINE="1")
    one_line(result[0], result[2], "SetFit/sst5", "Internet on", "--data DIR")


def test_a_broken_installation_is_not_taken_for_a_missing_hub(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # importing it raises ImportError
    status, _, err = call(*TRAIN, "--artifacts", tmp_path)
    one_line(status, err, "the installation is broken", "datasets")
