"""Fixtures: the scripts as modules, the smoke encoders and text, and a planted model whose true
attributions are known."""
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ["OMP_NUM_THREADS"] = "1"  # before torch starts: the models are too small for threads
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["NUMBA_DISABLE_JIT"] = "1"  # compiling SHAP's loops would take longer than running them
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import common  # noqa: E402
import standins  # noqa: E402


@pytest.fixture(scope="session")
def scripts():
    """{"01": module, ...}; importing a script does nothing."""
    return {path.stem[:2]: importlib.import_module(path.stem) for path in ROOT.glob("0?_*.py")}


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """The folder of the smoke preset's text and encoders."""
    folder = tmp_path_factory.mktemp("standins") / "smoke"
    folder.mkdir()
    standins.make_smoke(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def smoke_run(request, tmp_path_factory):
    """(process, file of its output) of bash run_all.sh smoke. It begins before the first test, if a
    test needs it: the tests take one core, and the run takes what is left."""
    if not any("done" in item.fixturenames for item in request.session.items):
        yield
        return
    folder = tmp_path_factory.mktemp("run")
    with open(folder / "log", "w") as log:
        run = subprocess.Popen(["bash", "run_all.sh", "smoke"], cwd=ROOT, stdout=log, stderr=log,
                               env=os.environ | {"ARTIFACTS": str(folder / "artifacts")})
    yield run, folder / "log"
    run.kill()


@pytest.fixture
def call(scripts, monkeypatch, capsys):
    """call("03", "--model", "x") -> (exit status, stdout, stderr) of a stage's main()."""
    def _call(number, *argv):
        monkeypatch.setattr(sys, "argv", [number, *map(str, argv)])
        status = 0
        try:
            scripts[number].main(scripts[number].parse_args())
        except SystemExit as error:
            status = error.code
        out = capsys.readouterr()
        return status, out.out, out.err
    return _call


class Planted(torch.nn.Module):
    """Probabilities that are linear in which words are there: p(class 4) is 0.3 and the words'
    weights, p(class 0) the rest but 0.003. So a word's SHAP value for class 4 is its weight."""

    def __init__(self, tokenizer, weights):
        super().__init__()
        self.device = torch.device("cpu")
        table = torch.zeros(len(tokenizer), 1, dtype=torch.float64)
        for word, weight in weights.items():
            table[tokenizer.convert_tokens_to_ids(word)] = weight
        self.embeddings = torch.nn.Embedding.from_pretrained(table)

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None):
        if inputs_embeds is None:
            inputs_embeds = self.embeddings(input_ids)
        top = 0.3 + (inputs_embeds[..., 0] * attention_mask).sum(-1)
        small = torch.full_like(top, 0.001)
        p = torch.stack([1 - 0.003 - top, small, small, small, top], -1)
        return SimpleNamespace(logits=p.log())


WEIGHTS = {"superb": 0.3, "excellent": 0.2, "dull": -0.15, "film": 0.05, "but": -0.02}


@pytest.fixture
def planted(smoke):
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(smoke / "random-bert")
    return Planted(tokenizer, WEIGHTS), tokenizer


@pytest.fixture
def tiny(smoke):
    """A random BERT with a head, its weights large enough that its probabilities move."""
    model, tokenizer = common.load_encoder(str(smoke / "random-bert"), seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.eval(), tokenizer
