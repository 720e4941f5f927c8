"""Text, models, training and what a user does wrong."""
import json
import os
import re
import shlex
import subprocess

import numpy as np
import pytest
import torch
from conftest import ROOT
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, DistilBertConfig

import common
import standins


# --- Text ------------------------------------------------------------------------------------------------------------------

def test_the_papers_facts():
    assert len(common.LABELS) == 5 and common.PER_CLASS * len(common.LABELS) == 150
    assert sum(common.SPLITS.values()) == 11855 and common.KS == (3, 5, 10)


@pytest.mark.parametrize("config, millions, layers", [
    (BertConfig(), 110, 12), (DistilBertConfig(), 66, 6), (BertConfig(num_hidden_layers=6), 66, 6)])
def test_parameter_counts_of_3_2(config, millions, layers):
    config = AutoConfig.for_model(config.model_type, **{k: v for k, v in config.to_dict().items() if k != "model_type"}, num_labels=5)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    assert abs(sum(p.numel() for p in model.parameters()) / 1e6 - millions) < 1.1 and config.num_hidden_layers == layers


def test_splits_keep_text_and_row_ids(smoke, tmp_path):
    splits = common.load_splits(str(smoke / "text"))
    assert [len(splits[s]) for s in ("train", "validation", "test")] == [280, 80, 120]
    lines = [json.loads(line) for line in (smoke / "text" / "test.jsonl").read_text().splitlines()]
    assert [(r["id"], r["text"], r["label"]) for r in splits["test"]] == [(f"test-{i}", r["text"], r["label"]) for i, r in enumerate(lines)]
    for name in ("train", "dev", "test"):  # SetFit's names; Windows line ends; odd spaces
        (tmp_path / f"{name}.jsonl").write_bytes(b'{"text": "  A  \\u00e9 ", "label": 1, "label_text": "x"}\r\n\r\n')
    assert common.load_splits(str(tmp_path))["validation"] == [{"id": "validation-0", "text": "  A  é ", "label": 1}]


def test_the_subset_is_balanced_reproducible_and_without_repeats(smoke):
    test = common.load_splits(str(smoke / "text"))["test"]
    drawn = common.balanced_subset(test, 5, 42)
    assert np.bincount([r["label"] for r in drawn]).tolist() == [5] * 5 and len({r["id"] for r in drawn}) == 25
    assert drawn == common.balanced_subset(test, 5, 42) != common.balanced_subset(test, 5, 43)


def test_snippets_become_classes():
    rows = standins.snippet_rows("1\t-2.5\ta\r\n2\t-2.4\tb\r\n3\t0\tc\r\n4\t2.3\td\r\n5\t2.4\te\r\n6\t-4\ta\r\n")
    assert [(r["text"], r["label"]) for r in rows] == [("a", 0), ("b", 1), ("c", 2), ("d", 3), ("e", 4)]


# --- The classifier ----------------------------------------------------------------------------------------------------------

def test_tokens_and_spans_round_trip(tiny):
    text = "The Film isn't  superb,\tit's joyful!"
    tokens, spans = common.token_spans(tiny[1], text)
    assert [text[a:b].lower() for a, b in spans] == [t.removeprefix("##") for t in tokens] and any(t.startswith("##") for t in tokens)
    assert list(common.token_ids(tiny[1], text)) == tiny[1].convert_tokens_to_ids(tokens)


def test_predict_proba_in_batches_is_predict_proba_singly(tiny):
    model, tokenizer = tiny
    texts = ["the film", "superb", "", "the film", "a " * 400, "it 's not much of a plot , it 's dull !"]
    together = common.predict_proba(model, tokenizer, texts, token_budget=40)
    assert together == pytest.approx(np.concatenate([common.predict_proba(model, tokenizer, [t]) for t in texts]), abs=1e-6)
    assert together.sum(1) == pytest.approx(1) and np.array_equal(together[0], together[3])
    by_ids = common.predict_proba(model, tokenizer, [common.token_ids(tokenizer, t) for t in texts])
    assert by_ids == pytest.approx(together, abs=1e-6)
    assert common.predict_proba(model, tokenizer, []).shape == (0, 5)
    with torch.no_grad():
        direct = model(**tokenizer([texts[5]], return_tensors="pt", return_token_type_ids=False)).logits.softmax(-1).numpy()
    assert together[5] == pytest.approx(direct[0], abs=1e-6)


@pytest.mark.parametrize("name", ["bert", "distilbert", "tinybert"])
def test_the_last_layer_is_only_run_for_cls(smoke, tmp_path, name):
    model, tokenizer = common.load_encoder(str(smoke / name), 1, (0, 1) if name == "bert" else ())
    model.save_pretrained(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    batch, labels = common.pad(tokenizer, common.encode(tokenizer, ["superb film", "the plot was dull !"]), "cpu"), torch.tensor([4, 0])
    logits, gradients, last = [], [], []
    for m in (model.eval(), plain.eval()):
        norm = [module for module in m.modules() if isinstance(module, torch.nn.LayerNorm)][-1]  # the last thing that the encoder does
        norm.register_forward_hook(lambda _, inputs, output: last.append(output.shape[1]))
        logits.append(m(**batch).logits)
        torch.nn.functional.cross_entropy(logits[-1], labels).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in m.parameters()]))
    assert last == [1, batch["input_ids"].shape[1]]
    assert torch.allclose(*logits, atol=1e-6) and torch.allclose(*gradients, atol=1e-6) and gradients[0].abs().max() > 1e-3


def test_a_full_gpu_halves_the_batches_and_goes_on(tiny, capsys):
    model, tokenizer = tiny
    texts = [f"{a} film {b}" for a in ("superb", "dull", "awful") for b in ("the movie", "ending !", "plot , really")]
    expected, forward, sizes = common.predict_proba(model, tokenizer, texts), model.forward, []

    def small_gpu(input_ids, attention_mask):
        sizes.append(input_ids.numel())
        if input_ids.numel() > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(input_ids, attention_mask)
    model.forward = small_gpu
    assert common.predict_proba(model, tokenizer, texts, token_budget=64) == pytest.approx(expected, abs=1e-6)
    assert "batches of 32 tokens from here on" in capsys.readouterr().out and model.token_budget == 16
    sizes.clear()
    common.predict_proba(model, tokenizer, texts)  # remembered: no batch is too large now
    assert max(sizes) <= 16


def test_a_folder_shaped_like_tinyberts_repository(smoke):
    folder = smoke / "tinybert"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "pytorch_model.bin", "vocab.txt"]
    assert "model_type" not in json.loads((folder / "config.json").read_text())
    model, tokenizer = common.load_encoder(str(folder), seed=0)
    saved = torch.load(folder / "pytorch_model.bin", weights_only=True)
    for key, value in model.bert.state_dict().items():
        assert torch.equal(value, saved["bert." + key])
    assert tokenizer.tokenize("A Good Movie é") == ["a", "good", "movie", "e"] and model.config.id2label[4] == "very positive"
    assert tokenizer.model_max_length == 512


def test_a_checkpoint_that_lacks_weights_is_refused(smoke, tmp_path, capsys):
    from safetensors.torch import load_file, save_file
    for path in (smoke / "bert").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layer.1.attention" not in k}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(SystemExit):
        common.load_encoder(str(tmp_path), seed=0)
    assert "lacks" in capsys.readouterr().err


def test_keep_layers_cuts_those_layers_out(smoke):
    whole, _ = common.load_encoder(str(smoke / "bert"), seed=0)
    half, _ = common.load_encoder(str(smoke / "bert"), 0, [1])
    assert half.config.num_hidden_layers == 1 == len(half.bert.encoder.layer)
    for a, b in zip(half.bert.encoder.layer[0].parameters(), whole.bert.encoder.layer[1].parameters()):
        assert torch.equal(a, b)


# --- Training ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("group", [False, True])
def test_batches_hold_every_sentence_once_and_follow_seed_and_epoch(group, rng):
    lengths = rng.integers(3, 60, 1000)
    batches = common.shuffled_batches(lengths, 32, 42, 1, group)
    assert sorted(np.concatenate(batches)) == list(range(1000)) and {len(b) for b in batches} == {32, 8}
    again, other = (np.concatenate(common.shuffled_batches(lengths, 32, 42, e, group)) for e in (1, 2))
    assert np.array_equal(np.concatenate(batches), again) and not np.array_equal(again, other)
    padded = sum(len(b) * lengths[b].max() for b in batches)
    assert (padded < 1.1 * lengths.sum()) == group


STAMP = {"arguments": {}, "inputs": {}}


def train(scripts, smoke, tmp_path, *more, name="m"):
    args = scripts["01"].parse_args(["--name", name, "--checkpoint", str(smoke / "bert"), "--artifacts", str(tmp_path),
                                     "--learning-rate", "3e-3", "--device", "cpu", "--overwrite", *more])
    splits = common.load_splits(str(smoke / "text"))
    model, tokenizer = common.load_encoder(args.checkpoint, args.seed)
    log = common.fit(model, tokenizer, splits, scripts["01"].cross_entropy, args, STAMP)
    return model, tokenizer, splits, log


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_lowers_the_loss_and_keeps_the_best_weights(scripts, smoke, tmp_path, precision):
    model, tokenizer, splits, log = train(scripts, smoke, tmp_path, "--epochs", "5", "--precision", precision)
    losses = [e["validation_loss"] for e in log]
    assert min(losses) < losses[0] - 0.1 and not model.training
    p = common.predict_proba(model, tokenizer, [r["text"] for r in splits["validation"]], precision)
    ours = -np.log(p[np.arange(len(p)), [r["label"] for r in splits["validation"]]]).mean()
    assert ours == pytest.approx(min(losses), abs=1e-4 if precision == "fp32" else 0.02)


def test_early_stopping_returns_to_the_best_epoch(scripts, smoke, tmp_path, monkeypatch):
    kept = []
    model, tokenizer = common.load_encoder(str(smoke / "bert"), 42)
    splits = common.load_splits(str(smoke / "text"))
    args = scripts["01"].parse_args(["--name", "m", "--checkpoint", "x", "--epochs", "9", "--max-steps", "2",
                                     "--artifacts", str(tmp_path)])

    def worse_every_epoch(logits, labels, input_ids):
        if not model.training:
            kept.append(model.classifier.weight.detach().clone())
            return torch.tensor(float(len(kept)))
        return logits.pow(2).mean() * 1e3
    log = common.fit(model, tokenizer, splits, worse_every_epoch, args, STAMP)
    assert len(log) == 3  # the best is the first; patience 2
    assert torch.equal(model.classifier.weight, kept[0]) and not torch.equal(kept[0], kept[-1])


def test_the_same_seed_trains_the_same_weights(scripts, smoke, tmp_path):
    a, b, c = (train(scripts, smoke, tmp_path, "--epochs", "1", "--seed", seed)[0].state_dict() for seed in ("42", "42", "43"))
    assert all(torch.equal(a[k], b[k]) for k in a) and not torch.equal(a["classifier.weight"], c["classifier.weight"])


def test_a_diverging_loss_saves_nothing(scripts, smoke, tmp_path, call):
    status, _, err = call("01", "--name", "m", "--checkpoint", smoke / "bert", "--data", smoke / "text", "--artifacts", tmp_path,
                          "--learning-rate", "1e30", "--epochs", "1")
    assert status == 2 and "diverged" in err and not list(tmp_path.glob("models/[!.]*"))


def test_the_teacher_reads_what_it_would_read_from_the_raw_text(scripts, smoke):
    tokenizer = common.load_encoder(str(smoke / "bert"), 0)[1]
    student = common.load_encoder(str(smoke / "tinybert"), 0)[1]
    texts = ["The  FILM, it is n't much of a plot !", "Joyful. Rejoicing", *(r["text"] for r in common.load_splits(str(smoke / "text"))["test"])]
    assert scripts["02"].retokenization_changes(student, tokenizer, texts) == 0
    batch = common.pad(student, common.encode(student, texts), "cpu")["input_ids"]  # padding does not reach the teacher
    assert common.encode(tokenizer, scripts["02"].decode(student, batch)) == common.encode(tokenizer, texts)


def test_the_student_learns_from_what_the_teacher_says_of_its_sentence(scripts, smoke, tmp_path, call):
    train = ("--data", smoke / "text", "--artifacts", tmp_path, "--epochs", "1", "--max-steps", "3")
    assert call("01", "--name", "bert", "--checkpoint", smoke / "bert", *train)[0] == 0
    assert call("02", "--checkpoint", smoke / "tinybert", "--alpha", "0.25", "--beta", "0.75", *train)[0] == 0
    rows, logits = common.load_splits(str(smoke / "text"))["validation"], []
    for name in ("kd_tinybert", "bert"):
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "models" / name).eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "models" / name)
        batch = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt", return_token_type_ids=False)
        logits.append(model(**batch).logits.detach())
    expected = scripts["02"].distillation_loss(*logits, torch.tensor([row["label"] for row in rows]), 0.25, 0.75)
    log = common.read_json(tmp_path / "models" / "kd_tinybert" / "training_log.json")
    assert log[0]["validation_loss"] == pytest.approx(expected.item(), abs=1e-5)


# --- Artifacts -----------------------------------------------------------------------------------------------------------------

def test_a_torn_last_line_is_dropped_and_done_again(tmp_path):
    path = tmp_path / "x.jsonl"
    rows = [{"id": str(i)} for i in range(3)]
    stamp = {"arguments": {"a": 1}, "inputs": {}}
    whole = common.explain_rows(path, rows, lambda rows: [{"value": row["id"]} for row in rows], stamp, False, "x")
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    done = []

    def explain(rows):
        done.extend(row["id"] for row in rows)
        return [{"value": row["id"]} for row in rows]

    again = common.explain_rows(path, rows, explain, stamp, False, "x")
    assert again == whole and path.read_bytes() == content and done == ["2"]
    path.write_bytes(content[:-5])
    assert common.explain_rows(path, rows, explain, stamp, False, "x", together=2) == whole and done == ["2", "2"]
    path.write_bytes(b"".join(content.splitlines(True)[1:]))  # what is explained together is explained whole, and written once
    common.explain_rows(path, rows, explain, stamp, False, "x", together=2)
    assert done == ["2", "2", "0", "1"] and sorted(path.read_bytes().splitlines()) == sorted(content.splitlines())


def test_another_run_is_not_silently_replaced(tmp_path, capsys):
    common.write_json(tmp_path / "stamp.json", {"arguments": {"seed": 42}, "inputs": {}})
    assert common.already_made(tmp_path / "stamp.json", {"arguments": {"seed": 42}, "inputs": {}}, False)
    with pytest.raises(SystemExit):
        common.already_made(tmp_path / "stamp.json", {"arguments": {"seed": 43}, "inputs": {}}, False)
    assert "seed 42 there, 43 now" in capsys.readouterr().err


def test_nan_is_written_as_null(tmp_path):
    common.write_json(tmp_path / "x.json", {"a": np.nan, "b": np.float32(0.5), "c": np.arange(2)})
    assert json.loads((tmp_path / "x.json").read_text()) | {"check": 0} == {"a": None, "b": 0.5, "c": [0, 1], "check": 0}
    assert common.read_json(tmp_path / "x.json", "a test") == {"a": None, "b": 0.5, "c": [0, 1]}


# --- What a user does wrong: one line, exit 2 ------------------------------------------------------------------------------------

def write_text(folder, train='{"text": "a", "label": 1}\n'):
    folder.mkdir()
    for name in ("train", "dev", "test"):
        (folder / f"{name}.jsonl").write_text(train if name == "train" else '{"text": "a", "label": 1}\n')
    return folder


@pytest.mark.parametrize("line, said", [
    ("not json", "line 1: not a JSON object"), ('{"text": "a", "label": 1}\n[1]', "line 2: not a JSON object"),
    ('{"label": 1}', "row 1: no text"), ('{"text": " ", "label": 1}', "row 1: no text"), ('{"text": "a"}', "label None"),
    ('{"text": "a", "label": 5}', "label 5"), ('{"text": "a", "label": "1"}', "label '1'"), ('{"text": "a", "label": true}', "label True"),
    ("", "holds no sentences")])
def test_bad_text(call, smoke, tmp_path, line, said):
    folder = write_text(tmp_path / "text", line)
    status, _, err = call("01", "--name", "m", "--checkpoint", smoke / "bert", "--data", folder, "--artifacts", tmp_path / "a")
    assert status == 2 and said in err and "train.jsonl" in err and err.count("\n") == 1 and not (tmp_path / "a").exists()


@pytest.mark.parametrize("number, argv, said", [
    ("01", ["--name", "m", "--checkpoint", "x", "--data", "./nowhere"], "not a folder"),
    ("01", ["--name", "m", "--checkpoint", "x", "--data", "{empty}"], "has no train.jsonl"),
    ("01", ["--name", "m", "--checkpoint", "{empty}", "--data", "{text}"], "could not be loaded"),
    ("01", ["--name", "m", "--checkpoint", "{smoke}/bert", "--data", "{text}", "--keep-layers", "0", "7"], "layers 0 to 1"),
    ("01", ["--name", "../m", "--checkpoint", "x"], "letters, digits"),
    ("01", ["--name", "m", "--checkpoint", "x", "--epoch", "1"], "unrecognized arguments"),
    ("01", ["--name", "m", "--checkpoint", "x", "--epochs", "0"], "whole number above 0"),
    ("01", ["--name", "m", "--checkpoint", "x", "--device", "cuda:9"], "cannot use the device"),
    ("02", ["--data", "{text}"], "no finished model 'bert'"),
    ("03", ["--name", "bert", "--data", "{text}"], "01_train.py or 02_distill.py"),
    ("04", ["--data", "{text}"], "03_explain.py"),
    ("05", ["--data", "{text}"], "03_explain.py"),
    ("06", [], "04_evaluate.py")])
def test_bad_commands(call, smoke, tmp_path, number, argv, said):
    (tmp_path / "empty").mkdir()
    text = write_text(tmp_path / "text")
    argv = [a.format(empty=tmp_path / "empty", text=text, smoke=smoke) for a in argv]
    status, _, err = call(number, *argv, "--artifacts", tmp_path / "a")
    assert status == 2 and said in err and "Traceback" not in err and not list((tmp_path / "a").rglob("[!.]*.*"))


def test_an_unreachable_hub_is_one_line(capsys):
    for error in (OSError("no\nroute"), ConnectionError("x"), RuntimeError("client has been closed"), ValueError("")):
        with pytest.raises(SystemExit), common.from_hub("some/model", "--checkpoint DIR"):
            raise error
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "--checkpoint DIR" in err and "Internet on" in err


def test_too_few_of_a_class(capsys):
    with pytest.raises(SystemExit):
        common.balanced_subset([{"label": 0}] * 30, 30, 42)
    assert "class 1 (negative) has 0 sentences" in capsys.readouterr().err


# --- Every command of README.md and run_all.sh is one the script takes ------------------------------------------------------------

def commands_of_run_all(preset, controls="1"):
    source = (ROOT / "run_all.sh").read_text()
    case = source[source.rindex("case $preset in"):]
    head = (f"preset={preset}; out=x; controls=; python=:; stage() {{ printf '%s\\n' \"$*\"; }}; "
            "side_by_side() { $1; $2; }\n")
    return subprocess.run(["bash", "-c", head + case], capture_output=True, text=True, check=True, cwd=ROOT,
                          env=os.environ | {"CONTROLS": controls}).stdout.splitlines()


def commands_of_readme():
    return re.findall(r"python (0[1-6]_\w+\.py[^\n`#]*)", (ROOT / "README.md").read_text())


def commands_of_docstrings(scripts):
    return [c.split("      (")[0] for s in scripts.values() for c in re.findall(r"^    python (0[1-6]_.*)", s.__doc__, re.M)]


def test_every_command_parses(scripts):
    paper, cpu, smoke = (commands_of_run_all(p) for p in ("paper", "cpu", "smoke"))
    own = ["01", "01", "02", "03", "03", "03", "04", "05"]  # the paper's part; 06 and "the report" follow
    assert [c[:2] for c in commands_of_run_all("paper", controls="0")] == [*own, "06", "th"]
    assert len(paper) == 10 + 4 + 4 + 6 and len(cpu) == 10 + 1 + 1 + 3 and len(smoke) == 10 + 2 + 2
    for command in [*paper, *cpu, *smoke, *commands_of_readme(), *commands_of_docstrings(scripts)]:
        script, *argv = shlex.split(command)
        if script != "the":
            scripts[script[:2]].parse_args([a.replace("...", "") for a in argv])


def test_defaults_are_the_papers(scripts):
    train = scripts["01"].parse_args(["--name", "bert", "--checkpoint", "bert-base-uncased"])
    kd = scripts["02"].parse_args([])
    for args in (train, kd):
        assert (args.learning_rate, args.batch_size, args.epochs, args.patience, args.seed) == (2e-5, 32, 10, 2, 42)
    assert (kd.alpha, kd.beta, kd.temperature) == (0.5, 0.5, 2.0)
    explain = scripts["03"].parse_args(["--name", "bert"])
    assert (explain.max_evals, explain.background, explain.lime_samples, explain.lime_features) == (500, 50, 5000, 10)
