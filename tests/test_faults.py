"""Stopped anywhere, started again; two at once; damaged files; and the bad things that happen to a run."""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from huggingface_hub import constants

import common

TRAIN = ["--epochs", "12", "--learning-rate", "3e-3", "--batch-size", "16", "--patience", "12"]
EXPLAIN = ["--per-class", "1", "--max-evals", "40", "--lime-samples", "60", "--background", "5"]


def stages(smoke, artifacts):
    """The commands of a small run, in order: argument lists that begin with the stage's number."""
    commands = [["01", "--name", "bert", "--checkpoint", smoke / "bert", *TRAIN],
                ["01", "--name", "distilbert", "--checkpoint", smoke / "distilbert", *TRAIN],
                ["02", "--checkpoint", smoke / "tinybert", *TRAIN], *(["03", "--name", name, *EXPLAIN] for name in common.MODELS),
                ["04"], ["05", "--adjectives", "1", "--found", "2", "--max-evals", "40", "--background", "5"]]
    return [[*map(str, c), "--data", str(smoke / "text"), "--artifacts", str(artifacts)] for c in commands]


def fail(error):
    raise error


@pytest.fixture
def run(scripts, monkeypatch, capsys):
    """run("03", "--name", "x") -> (exit status, stdout, stderr) of a stage as the command line runs it."""
    def _run(number, *argv):
        monkeypatch.setattr(sys, "argv", [number, *map(str, argv)])
        status = 0
        try:
            common.run(scripts[number].main)
        except SystemExit as error:
            status = error.code
        out = capsys.readouterr()
        return status, out.out, out.err
    return _run


@pytest.fixture(scope="module")
def whole(scripts, smoke, tmp_path_factory):
    """(artifacts of an uninterrupted run without a network, the seconds of each of its commands)."""
    artifacts, seconds, asked = tmp_path_factory.mktemp("whole"), [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *host, **_: asked.append(host) or fail(OSError("no network")))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        for command in stages(smoke, artifacts):
            started = time.time()
            patch.setattr(sys, "argv", command)
            common.run(scripts[command[0]].main)
            seconds.append(time.time() - started)
    assert not asked
    return artifacts, seconds


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "copy")


def fork(do, log):
    """The process id of a child that does something, its words in a file."""
    if pid := os.fork():
        return pid
    status = 1
    signal.alarm(120)  # nothing here takes as long
    try:
        sys.stdout = sys.stderr = open(log, "a", buffering=1)  # noqa: SIM115
        do()
        status = 0
    except SystemExit as error:
        status = error.code
    finally:
        os._exit(status)


def ended(pid):
    """The exit status of a child, -9 where it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def contents(artifacts):
    """What must not depend on interruptions: weights, logs, explanations, probes, tables; without times and commits."""
    found = {}
    for path in artifacts.rglob("[!.]*.*"):
        if path.name in ("tokenizer_config.json", "timing.json", "runs.jsonl"):
            continue
        value = path.read_bytes()
        if path.suffix == ".json" and "tokenizer" not in path.name:
            value = json.loads(value)
            for part in value if isinstance(value, list) else [value, value.get("stamp", {})]:
                for key in ("seconds", "commit", "check", "files"):
                    part.pop(key, None)
        found[str(path.relative_to(artifacts))] = value
    return found


# --- Stopped and started again -----------------------------------------------------------------------------------------

def test_killed_at_random_moments_the_results_are_the_same(scripts, smoke, whole, tmp_path, rng):
    artifacts, log, kills = tmp_path / "a", tmp_path / "log", {}
    for command, seconds in zip(stages(smoke, artifacts), whole[1]):
        sys.argv, status = command, -9
        for _ in range(5 if command[0] < "04" else 2):
            pid = fork(lambda: common.run(scripts[sys.argv[0]].main), log)
            time.sleep(rng.uniform(0.02, 0.5 * min(seconds, 6)))
            os.kill(pid, signal.SIGKILL)
            status = ended(pid)
            kills[command[0]] = kills.get(command[0], 0) + (status == -9)
        assert ended(fork(lambda: common.run(scripts[sys.argv[0]].main), log)) == 0, log.read_text()[-2000:]
    said = log.read_text()
    print(f"\nkilled {sum(kills.values())} times: {kills}; {said.count('goes on after epoch')} trainings went on")
    assert min(kills.values()) >= 2 and "goes on after epoch" in said and "Traceback" not in said
    assert contents(artifacts) == contents(whole[0])
    assert not [p for p in artifacts.rglob(".*") if p.suffix != ".lock" and "partial" not in p.name]  # no checkpoint is left


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_training_goes_on_bit_for_bit(scripts, smoke, tmp_path, monkeypatch, precision):
    splits = common.load_splits(str(smoke / "text"))
    save = common.save_checkpoint

    def train(folder, stop_after):
        args = scripts["01"].parse_args([
            "--name", "m", "--checkpoint", str(smoke / "bert"), "--artifacts", str(tmp_path / folder), "--epochs", "4",
            "--patience", "4", "--max-steps", "6", "--learning-rate", "3e-3", "--precision", precision])
        for n in (*stop_after, None):
            def save_and_stop(*given, n=n):
                save(*given)
                if len(given[3]) == n:
                    raise KeyboardInterrupt
            monkeypatch.setattr(common, "save_checkpoint", save_and_stop)
            model, tokenizer = common.load_encoder(args.checkpoint, args.seed)
            common.seed_all(n or 0)  # another process's random state
            try:
                stamp = {"arguments": {}, "inputs": {}}
                return model, common.fit(model, tokenizer, splits, scripts["01"].cross_entropy, args, stamp)
            except KeyboardInterrupt:
                assert len(list((tmp_path / folder / "models").glob(".m.*"))) == 2  # one rolling checkpoint
        return None
    (model, log), (other, log_other) = train("whole", ()), train("stopped", (1, 2, 4))
    assert [e | {"seconds": 0} for e in log] == [e | {"seconds": 0} for e in log_other] and len(log) == 4
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))


def test_a_checkpoint_of_another_run_or_a_damaged_one(scripts, smoke, tmp_path, run, monkeypatch):
    argv = ["--name", "m", "--checkpoint", smoke / "bert", "--data", smoke / "text", "--artifacts", tmp_path, "--epochs", "2"]
    monkeypatch.setattr(scripts["01"], "save_classifier", lambda *_: fail(KeyboardInterrupt))
    assert run("01", *argv)[0] == 130
    status, _, err = run("01", *argv, "--learning-rate", "1e-3")
    assert status == 2 and "learning_rate 2e-05 there, 0.001 now" in err and "--overwrite" in err and err.count("\n") == 1
    assert "goes on after epoch 2" in run("01", *argv)[1]
    state = next((tmp_path / "models").glob(".m.epoch2.pt"))
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    said = run("01", *argv)[1]
    assert "damaged; training starts anew" in said and "epoch 1:" in said


# --- Two at once -------------------------------------------------------------------------------------------------------

def hold(path, tmp_path):
    """A child that claims an artifact and keeps it."""
    def do():
        common.claim(path)
        print("claimed")
        time.sleep(60)
    log = tmp_path / "held"
    log.write_text("")
    pid = fork(do, log)
    while "claimed" not in log.read_text():
        time.sleep(0.01)
    return pid


@pytest.mark.parametrize("artifact, number, argv", [
    ("models/bert", "01", ["--name", "bert", "--checkpoint", "{smoke}/bert", *TRAIN]),
    ("models/bert", "03", ["--name", "bert", *EXPLAIN]),
    ("explanations/bert.shap.jsonl", "03", ["--name", "bert", *EXPLAIN]),
    ("explanations/distilbert.lime.jsonl", "04", [])])
def test_the_second_process_is_refused_and_a_dead_ones_lock_is_not(run, smoke, copy, tmp_path, artifact, number, argv):
    pid = hold(copy / artifact, tmp_path)
    argv = [*(str(a).format(smoke=smoke) for a in argv), "--data", smoke / "text", "--artifacts", copy]
    try:
        status, _, err = run(number, *argv)
        assert status == 2 and "another process is" in err and artifact in err and err.count("\n") == 1
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)
    if number != "04":
        assert run(number, *argv)[0] == 0


def test_two_models_side_by_side_in_a_fresh_folder(scripts, smoke, whole, tmp_path):
    shutil.copytree(whole[0] / "models", tmp_path / "a" / "models")
    children = []
    for command in stages(smoke, tmp_path / "a")[3:6]:
        sys.argv = command
        children.append(fork(lambda: common.run(scripts["03"].main), tmp_path / "log"))
    assert [ended(pid) for pid in children] == [0, 0, 0], (tmp_path / "log").read_text()
    expected = {k: v for k, v in contents(whole[0]).items() if not k.startswith(("tables", "probes"))}
    assert contents(tmp_path / "a") == expected
    assert [r["stage"] for r in common.read_jsonl(tmp_path / "a" / "runs.jsonl", "a test")] == ["03"] * 3


def test_lines_that_many_append_do_not_mix(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"cut sho')

    def many(i):
        os.fsync = lambda _: None  # the disk would make them take turns
        for j in range(100):
            common.append_jsonl(path, {"i": i, "j": j, "x": "x" * 10_000})
    children = [fork(lambda i=i: many(i), tmp_path / "log") for i in range(4)]
    assert [ended(pid) for pid in children] == [0] * 4
    rows = common.read_jsonl(path, "a test")
    assert sorted((r["i"], r["j"]) for r in rows) == [(i, j) for i in range(4) for j in range(100)]


# --- Files that were damaged, edited, or do not belong together --------------------------------------------------------

def damage(content, rng):
    """Bytes with something done to them that happens to files: cut, edited, a piece lost, twice or moved, noise."""
    content, (a, b) = bytearray(content), sorted(rng.randrange(len(content) + 1) for _ in range(2))
    how = rng.randrange(7)
    if how == 0:
        del content[a:]
    elif how == 1:
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif how == 2:
        del content[a:b]
    elif how == 3:
        content[b:b] = content[a:b]
    elif how == 4:
        content[a:a] = rng.choice([b"[" * 100_000, b'{"a":', b"\x00", b"\xff\xfe", b"\n", b'"\\ud800"', b"9" * 5000, b"NaN"])
    elif how == 5:
        digits = [i for i, c in enumerate(content) if chr(c).isdigit()]
        for i in rng.sample(digits, min(len(digits), rng.randint(1, 3))):
            content[i] = ord(str(rng.randrange(10)))
    else:
        lines = content.split(b"\n")
        rng.shuffle(lines)
        content = b"\n".join(lines[rng.randint(0, 1):])
    return bytes(content)


def test_readers_of_damaged_files_stop_or_say_the_truth(whole, copy, smoke, tmp_path, capsys):
    rng, cases, stops = random.Random(0), 0, 0
    subset = common.load_subset(copy)
    true, stamp = common.load_explanations(copy, "bert", "shap", subset)
    salt, by_id = common.stamp_salt(stamp), {row["id"]: row for row in true}
    text = shutil.copytree(smoke / "text", tmp_path / "text")
    (text / "train.jsonl").write_bytes(b"".join((text / "train.jsonl").read_bytes().splitlines(True)[:5]))
    explained, table = copy / "explanations" / "bert.shap.jsonl", common.read_json(copy / "tables" / "table1.json", "04")

    def explanations():
        assert common.load_explanations(copy, "bert", "shap", common.load_subset(copy))[0] == true

    def go_on():
        assert all(row == by_id[row["id"]] for row in common.resumable(explained, salt))
        assert all(row == by_id[row["id"]] for row in common.read_jsonl(explained, "03", salt))  # the file is sound again

    def json_file():
        assert common.read_json(copy / "tables" / "table1.json", "04") == table

    def user_text():
        for rows in common.load_splits(str(text)).values():
            assert all(type(r["label"]) is int and r["label"] in range(5) and r["text"].encode("utf-8").strip() for r in rows)

    for path, times, read in (
            (explained, 1000, explanations), (explained, 1000, go_on), (copy / "subset.jsonl", 500, explanations),
            (explained.with_suffix(".stamp.json"), 300, explanations), (copy / "models/bert/stamp.json", 300, explanations),
            (copy / "tables" / "table1.json", 500, json_file), (text / "train.jsonl", 1000, user_text)):
        content = path.read_bytes()
        for _ in range(times):
            path.write_bytes(damage(content, rng))
            cases += 1
            try:
                read()
            except SystemExit as error:
                stops += 1
                assert error.code == 2 and read != go_on and capsys.readouterr().err.count("\n") == 1
        path.write_bytes(content)
        read()
    capsys.readouterr()
    print(f"\n{cases} damaged files, {stops} refused")
    assert stops > cases / 4


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_model_folder_cut_short_or_half_copied(run, smoke, copy, file):
    path, argv = copy / "models" / "bert" / file, ["--name", "bert", *EXPLAIN, "--data", smoke / "text", "--artifacts", copy]
    content = path.read_bytes()
    for change in (lambda: path.write_bytes(content[:-100]), lambda: path.write_bytes(content.replace(b"a", b"b", 1)),
                   path.unlink):
        change()
        for number, options in (("03", argv), ("04", argv[-4:])):
            status, _, err = run(number, *options)
            assert status == 2 and f"models/bert/{file}" in err and "--overwrite makes it again" in err and err.count("\n") == 1


def test_a_pretrained_checkpoint_cut_short(run, smoke, tmp_path):
    folder = shutil.copytree(smoke / "bert", tmp_path / "bert")
    os.truncate(folder / "model.safetensors", 1000)
    status, _, err = run("01", "--name", "m", "--checkpoint", folder, "--data", smoke / "text", "--artifacts", tmp_path / "a")
    assert status == 2 and str(folder) in err and err.count("\n") == 1


def test_an_edited_line_is_found_and_made_again(run, smoke, whole, copy):
    path, text = copy / "explanations" / "kd_tinybert.shap.jsonl", ["--data", smoke / "text", "--artifacts", copy]
    lines = path.read_text().splitlines(True)
    path.write_text("".join([lines[0], lines[1].replace('"predicted": ', '"predicted": 1', 1), *lines[2:]]).replace("\n", "\r\n"))
    status, _, err = run("04", *text)
    assert status == 2 and "kd_tinybert.shap.jsonl, line 2" in err and "03_explain.py" in err and "kd_tinybert" in err
    status, out, _ = run("03", "--name", "kd_tinybert", *EXPLAIN, *text)
    assert status == 0 and "1 of 5 lines are damaged" in out and "4 of 5 there" in out
    assert sorted(path.read_text().splitlines(True)) == sorted(lines)


def test_lines_and_models_of_another_run_are_not_taken_for_this_ones(run, smoke, copy, tmp_path):
    text = ["--data", smoke / "text", "--artifacts", copy]
    path = copy / "explanations" / "bert.shap.jsonl"
    content = path.read_bytes()
    shutil.copy(copy / "explanations" / "distilbert.shap.jsonl", path)  # the lines without their stamp
    status, _, err = run("04", *text)
    assert status == 2 and "bert.shap.jsonl, line 1: damaged, edited or of another run" in err
    path.write_bytes(content)
    path.with_suffix(".stamp.json").unlink()
    status, _, err = run("03", "--name", "bert", *EXPLAIN, *text)
    assert status == 2 and "bert.shap.stamp.json" in err and path.read_bytes() == content  # nothing is lost
    other = shutil.copytree(smoke / "text", tmp_path / "other")
    (other / "train.jsonl").write_text((other / "train.jsonl").read_text().replace("superb", "grand"))
    for number, argv in (("02", ["--checkpoint", smoke / "tinybert", "--name", "kd2"]), ("03", ["--name", "distilbert"])):
        status, _, err = run(number, *argv, "--data", other, "--artifacts", copy)
        assert status == 2 and "trained on another text" in err and err.count("\n") == 1


# --- Bad things --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("what", ["checkpoint", "weights", "log", "line"])
def test_a_full_disk_is_one_line_and_what_was_done_is_kept(run, smoke, copy, tmp_path, monkeypatch, what):
    full, argv = os.strerror(28), ["--data", smoke / "text", "--artifacts", copy]
    train = ["--name", "new", "--checkpoint", smoke / "bert", "--epochs", "2", *argv]
    explain = ["--name", "bert", *EXPLAIN, "--methods", "shap_mask", *argv]
    with monkeypatch.context() as patch:
        if what == "checkpoint":
            (copy / "models" / ".new.epoch1.pt").symlink_to("/dev/full")
        elif what == "weights":
            def save_pretrained(*_, **__):
                from safetensors import SafetensorError
                raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
            patch.setattr("transformers.PreTrainedModel.save_pretrained", save_pretrained)
        elif what == "log":
            (copy / "models" / ".new.partial").mkdir()
            patch.setattr("shutil.rmtree", lambda *_, **__: None)
            (copy / "models" / ".new.partial" / f".training_log.json.{os.getpid()}.partial").symlink_to("/dev/full")
        else:
            synced = []
            patch.setattr(os, "fsync", lambda _: synced.append(0) if len(synced) < 3 else fail(OSError(28, full)))
        status, _, err = run("03", *explain) if what == "line" else run("01", *train)
    assert status == 2 and full in err and err.count("\n") == 1
    if what == "line":
        status, out, _ = run("03", *explain)
        assert status == 0 and "of 5 there" in out and "0 of 5 there" not in out
    else:
        if what == "checkpoint":
            (copy / "models" / ".new.epoch1.pt").unlink()
        status, out, _ = run("01", *train)
        assert status == 0 and ("goes on after epoch 2" in out) == (what != "checkpoint")


def test_a_folder_that_cannot_be_written(run, smoke, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "readonly").mkdir(mode=0o555)
    for artifacts in (tmp_path / "file", tmp_path / "readonly" / "a" if os.geteuid() else "/sys/a"):
        status, _, err = run("01", "--name", "m", "--checkpoint", smoke / "bert", "--data", smoke / "text",
                             "--artifacts", artifacts)
        assert status == 2 and str(artifacts) in err and err.count("\n") == 1


def test_attributions_that_are_not_numbers_stop_at_their_sentence(tmp_path, capsys):
    def explain(rows):
        return [{"attributions": [[0.5, float("nan" if row["id"] == "s-2" else "1")]]} for row in rows]
    stamp = {"arguments": {}, "inputs": {}}
    with pytest.raises(SystemExit):
        common.explain_rows(tmp_path / "x.jsonl", [{"id": f"s-{i}"} for i in range(4)], explain, stamp, False, "x")
    assert "of s-2 are not all numbers" in capsys.readouterr().err
    assert len(common.resumable(tmp_path / "x.jsonl", common.stamp_salt(stamp))) == 2


ODD = ["superb", "!", "... ?! --", "a", "the film 🎬🍿 was 👍🏽 .", "the \x00film\x07 is\u2028dull\u200b .",
       "the film\r\nwas dull .\r\n", "the film was superb and " * 150, "é" * 40, "日本語 の 映画", "[MASK] [SEP] [CLS] [UNK] film",
       "  the   film\t.  ", "_", "\x01\x02",
       "i found the plot quite good but the music was dull ."]


def test_odd_sentences_and_models_of_one_class_give_right_tables(run, smoke, copy, tmp_path):
    for name in common.MODELS:  # distilbert: every sentence gets the same probabilities; the others: the same class
        model, tokenizer = common.load_classifier(copy, name, torch.device("cpu"))
        with torch.no_grad():
            model.classifier.weight.mul_(name != "distilbert")
            model.classifier.bias.copy_(torch.tensor([0.0, 0, 0, 20, 0]))
        stamp = common.read_json(copy / "models" / name / "stamp.json", "a test")
        common.save_classifier(model, tokenizer, [], SimpleNamespace(artifacts=copy, name=name), stamp)
    for folder in ("explanations", "probes", "tables"):
        shutil.rmtree(copy / folder)
    (copy / "subset.jsonl").unlink()
    (tmp_path / "odd.jsonl").write_bytes(b"\r\n".join(json.dumps({"text": t, "label": i % 5}, ensure_ascii=i % 2).encode()
                                                     for i, t in enumerate(ODD)))
    data = ["--data", smoke / "text", "--artifacts", copy]
    for number, *argv in (*(["03", "--name", name, *EXPLAIN, "--subset", tmp_path / "odd.jsonl"] for name in common.MODELS),
                          ["04"], ["05", "--adjectives", "1", "--found", "2", "--max-evals", "40", "--background", "5"]):
        status, _, err = run(number, *argv, *data)
        assert status == 0, err
    rows, _ = common.load_explanations(copy, "bert", "shap", common.load_subset(copy))
    assert [row["text"] for row in rows] == ODD and {row["predicted"] for row in rows} == {3}
    for row in rows:
        parts = [np.array(row[key], dtype=float).reshape(-1, 5)
                 for key in ("attributions", "special_attributions", "base_values")]
        assert np.concatenate(parts).sum(0) == pytest.approx(row["probabilities"], abs=1e-5)
    table = {t: common.read_json(copy / "tables" / f"{t}.json", "a test")["rows"] for t in ("figure4", "table1", "table3")}
    share = np.mean([row["label"] == 3 for row in common.load_splits(str(smoke / "text"))["test"]])
    assert all(row["accuracy"]["mean"] == pytest.approx(share) for row in table["figure4"])
    for row in table["table1"]:
        assert row["flip_rate"]["mean"] == 0 and (row["model"] != "distilbert" or abs(row["confidence_drop"]["mean"]) < 1e-12)


def test_half_a_character_is_refused(run, smoke, tmp_path):
    text = shutil.copytree(smoke / "text", tmp_path / "text")
    with open(text / "test.jsonl", "a") as file:
        file.write('{"text": "half \\ud83d", "label": 1}\n')
    status, _, err = run("01", "--name", "m", "--checkpoint", smoke / "bert", "--data", text, "--artifacts", tmp_path / "a")
    assert status == 2 and "row 121: half a character" in err and err.count("\n") == 1


def test_two_ranks_of_a_torchrun_give_what_one_process_gives(smoke, whole, copy):
    """Also where a lost rank of an earlier run left its part: it is gathered, and the rest is shared out."""
    path = copy / "explanations" / "bert.shap.jsonl"
    one = (whole[0] / "explanations" / "bert.shap.jsonl").read_bytes()
    lines = one.splitlines(keepends=True)
    path.write_bytes(lines[2])
    path.with_suffix(".rank1.jsonl").write_bytes(lines[0] + lines[3][:40])
    (copy / "explanations" / "bert.lime.jsonl").unlink()
    (copy / "explanations" / "bert.lime.stamp.json").unlink()
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "03_explain.py", "--name", "bert",
                           *EXPLAIN, "--data", str(smoke / "text"), "--artifacts", str(copy)],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"2 of {len(lines)} there" in done.stdout and path.read_bytes() == one
    lime = "explanations/bert.lime.jsonl"
    assert (copy / lime).read_bytes() == (whole[0] / lime).read_bytes() and not list(path.parent.glob("*.rank*"))
