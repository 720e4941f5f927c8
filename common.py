"""Faithfulness and Reasoning Drift in Compressed Transformers (2025): what two or more of the six scripts share.

Read beside the paper, top to bottom:

    1. What the paper fixes            3.1-3.7
    2. Text                            3.1, 3.3     01 02 03 04
    3. The classifier                  3.2, 3.3     all that ask a model anything
    4. The optimisation protocol       3.4          01 02
    5. The unit of explanation         3.6, 3.7     03 04 05
    6. Explainers                      3.6          03 05
    7. Statistics                      4            04 05
    8. Artifacts, stamps, shared flags              all

A number such as A4 is an assumption of ours where the paper is silent or contradicts itself; the README lists them.
The records that pass between the scripts are described in the README, "Artifacts".
"""
import argparse
import errno
import fcntl
import hashlib
import json
import math
import os
import platform
import queue
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
import zlib
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path

# Before transformers is imported: no background call that asks a server to convert a .bin checkpoint.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts: its matrix products repeat themselves

import numpy as np
import torch
import transformers
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PretrainedConfig

# ---------------------------------------------------------------------------------------------------------------------
# 1. What the paper fixes

LABELS = ("very negative", "negative", "neutral", "positive", "very positive")  # 3.1: classes 0..4
MODELS = {"bert": "BERT", "distilbert": "DistilBERT", "kd_tinybert": "KD-TinyBERT"}  # 3.2, in the order of its tables
PAIRS = (("bert", "distilbert"), ("bert", "kd_tinybert"), ("distilbert", "kd_tinybert"))  # 3.7 (2)
KS = (3, 5, 10)  # 4.2
SEED = 42  # 3.5
MAX_LENGTH = 256  # 3.3: tokens, with [CLS] and [SEP]
TRAIN_BATCH, EVAL_BATCH = 32, 64  # 3.3: sentences
PER_CLASS = 30  # 3.1: 150 sentences for 5 classes
SHAP_EVALS = 500  # A12: "default partition sampling"; the library's default budget
SHAP_TOGETHER = 10  # sentences that SHAP explains by turns, see explain_shap

DATASET = "SetFit/sst5"  # 3.3
SPLITS = {"train": 8544, "validation": 1101, "test": 2210}  # 3.3: its predefined splits
REVISIONS = {  # commits on the Hub, so that a later push cannot change a result
    DATASET: "e51bdcd8cd3a30da231967c1a249ba59361279a3",
    "huawei-noah/TinyBERT_General_6L_768D": "8b6152f3be8ab89055dea2d040cebb9591d97ef6",
}


MAKES_MODEL = "01_train.py or 02_distill.py with --overwrite"


def stop(message):
    """End the program for a reason the user can mend: one line on stderr, exit status 2, no traceback."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


# ---------------------------------------------------------------------------------------------------------------------
# 2. Text (3.1, 3.3)

def parse_line(line, ours=False, salt=0):
    """The JSON object of a line, or None where it is none. ours: without its check, and None where that is not right."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    return unsealed(row, salt) if ours else row if isinstance(row, dict) else None


def read_jsonl(path, made_by=None, salt=0):
    """The JSON objects of a file, one a line. A line that is not one ends the program with its number; made_by: nor one that
    is not as that command wrote it."""
    rows = []
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        stop(f"{path} cannot be read: {error.strerror}")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        rows.append(parse_line(line, made_by is not None, salt))
        if rows[-1] is None:
            stop(f"{path}, line {number}: " + (f"damaged, edited or of another run; {made_by} makes it again" if made_by else
                 "not a JSON object; a text file has one {\"text\": ..., \"label\": ...} a line"))
    return rows


def check_rows(rows, source):
    """rows as {"text": str, "label": int in 0..4}; anything else ends the program with the row's number."""
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get("text"), str) or not row["text"].strip():
            stop(f"{source}, row {number}: no text, or an empty one")
        if any("\ud800" <= c <= "\udfff" for c in row["text"]):
            stop(f"{source}, row {number}: half a character (a surrogate without its other half): {ascii(row['text'])[:80]}")
        if type(row.get("label")) is not int or not 0 <= row["label"] < len(LABELS):
            stop(f"{source}, row {number}: label {row.get('label')!r} is not one of 0..{len(LABELS) - 1} ({', '.join(LABELS)})")
    if not rows:
        stop(f"{source} holds no sentences")
    return rows


def load_splits(data):
    """{"train" | "validation" | "test": [{"id": "test-17", "text": str, "label": 0..4}, ...]}, text untouched (3.3).

    data: a folder with train, validation (or dev) and test .jsonl, or a data set of the Hub. The id is the split and the
    row in it, from 0, so it means the same sentence wherever the data set is the same.
    """
    splits = {}
    if Path(data).is_dir():
        for split, names in {"train": ["train"], "validation": ["validation", "dev"], "test": ["test"]}.items():
            paths = [p for p in (Path(data) / f"{name}.jsonl" for name in names) if p.is_file()]
            if not paths:
                stop(f"{data} has no {' or '.join(n + '.jsonl' for n in names)}; --data takes a folder with train, "
                     "validation (or dev) and test .jsonl of text and label")
            splits[split] = check_rows(read_jsonl(paths[0]), paths[0])
    elif data.startswith((".", "/", "~")) or data.count("/") > 1:
        stop(f"{data} is not a folder; --data takes a folder with train, validation (or dev) and test .jsonl")
    else:
        with from_hub(data, "--data DIR with its train, validation and test .jsonl"):
            import datasets  # here, for it is slow to import and a local folder does not need it
            datasets.disable_progress_bars()
            loaded = datasets.load_dataset(data, revision=REVISIONS.get(data))
        for split in SPLITS:
            if split not in loaded:
                stop(f"{data} has no split {split}, only {', '.join(loaded)}")
            splits[split] = check_rows([dict(row) for row in loaded[split]], f"{data} {split}")
    for split, rows in splits.items():
        splits[split] = [{"id": f"{split}-{i}", "text": r["text"], "label": r["label"]} for i, r in enumerate(rows)]
    if data == DATASET:
        assert {split: len(rows) for split, rows in splits.items()} == SPLITS
    return splits


@contextmanager
def from_hub(name, local):
    """Turn the many ways in which an unreachable Hub shows (OSError, ConnectionError, RuntimeError, ...) into one line."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:  # noqa: BLE001 - the libraries raise at least four unrelated types, by version
        stop(f"{name} could not be loaded ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:150]}). It "
             f"is neither a usable local folder nor, from here, a reachable repository of the Hugging Face Hub. On Kaggle: "
             f"Settings > Internet on. Without network: {local}")


def balanced_subset(rows, per_class, seed):
    """per_class sentences of every class, drawn without replacement, in the order of the split (3.1; the draw: A2)."""
    rng = random.Random(seed)
    drawn = []
    for label, name in enumerate(LABELS):
        of_class = [row for row in rows if row["label"] == label]
        if len(of_class) < per_class:
            stop(f"class {label} ({name}) has {len(of_class)} sentences, fewer than the {per_class} asked for; "
                 "--per-class takes fewer")
        drawn += rng.sample(of_class, per_class)
    return sorted(drawn, key=rows.index)


# ---------------------------------------------------------------------------------------------------------------------
# 3. The classifier (3.2, 3.3)

def pick_device(name, deterministic=True):
    """torch.device for auto, cpu, cuda or cuda:N; auto is a GPU of its own for each rank of a torchrun. A GPU that this torch
    was not built for is found out now.

    deterministic: of a GPU's algorithms those that give the same bits again (a CPU's do); some are slower."""
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).add(1).cpu()
    except (RuntimeError, AssertionError) as error:
        stop(f"torch {torch.__version__} cannot use the device {name!r}: {str(error).strip().splitlines()[0]} "
             "(a P100 needs an older torch: on Kaggle choose T4 x2; or pass --device cpu)")
    torch.use_deterministic_algorithms(deterministic and device.type == "cuda")
    return device


def load_encoder(checkpoint, seed, keep_layers=()):
    """A pretrained encoder with a new 5-class head, and its tokenizer (3.2).

    keep_layers: which encoder layers to keep, from 0; () is all. The head is drawn from the seed. Vocabulary-only
    folders without model_type, as TinyBERT's repository once was, are read as BERT, lower-cased. Ends the program when
    anything but the head is missing from the checkpoint.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    revision = REVISIONS.get(checkpoint, "main")
    id2label = dict(enumerate(LABELS))
    with from_hub(checkpoint, "--checkpoint DIR with its config.json, vocab.txt and weights"):
        fields, _ = PretrainedConfig.get_config_dict(checkpoint, revision=revision)
        fields |= {"id2label": id2label, "label2id": {label: i for i, label in id2label.items()}}
        config = AutoConfig.for_model(fields.pop("model_type", "bert"), **fields)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, revision=revision, config=config)
        if tokenizer.unk_token in tokenizer.tokenize("A Good Movie"):  # vocab.txt alone on transformers 5.0-5.2
            tokenizer = AutoTokenizer.from_pretrained(checkpoint, revision=revision, config=config, do_lower_case=True)
        torch.manual_seed(seed)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, revision=revision, config=config, output_loading_info=True)
    missing = [key for key in info["missing_keys"] if "classifier" not in key]
    if missing:
        stop(f"{checkpoint} lacks {len(missing)} weights of a {config.model_type} encoder, {min(missing)} among them")
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
    if keep_layers:
        layers = model.base_model.encoder.layer
        if max(keep_layers) >= len(layers):
            stop(f"--keep-layers {max(keep_layers)}: {checkpoint} has layers 0 to {len(layers) - 1}")
        model.base_model.encoder.layer = torch.nn.ModuleList(layers[i] for i in keep_layers)
        model.config.num_hidden_layers = len(keep_layers)
    return only_cls(model.float()), tokenizer


def load_classifier(artifacts, name, device):
    """(model in eval mode, tokenizer) of models/<name>, as 01 or 02 saved it; always in fp32."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = model_folder(artifacts, name)
    stamp = read_json(folder / "stamp.json", MAKES_MODEL)
    for file, sha256 in stamp.get("files", {"model.safetensors": stamp["weights"]}).items():
        if not (folder / file).is_file() or file_digest(folder / file) != sha256:
            stop(f"{folder}/{file} is not what was saved there: cut short, edited or another's; {MAKES_MODEL} makes it again")
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    if (labels := tuple(model.config.id2label.values())) != LABELS:
        stop(f"{folder} tells {', '.join(labels)} apart, not {', '.join(LABELS)}; {MAKES_MODEL} makes it again")
    return only_cls(model.float().eval().to(device)), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def only_cls(model):
    """The head reads [CLS] alone, so the last layer's feed-forward block runs for [CLS] alone: the same logits, for an 18th
    of the layers' arithmetic less in 12 layers, a 9th in 6."""
    layers = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)][-1]
    norm = next(module for module in layers[-1].modules() if isinstance(module, torch.nn.LayerNorm))  # after the attention
    norm.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, :1],))  # (b, length, width) -> (b, 1, width)
    return model


def autocast(device, precision):
    """Mixed precision for a block: fp16 or bf16 matrix products over fp32 weights; fp32 is plain."""
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def encode(tokenizer, texts):
    """Token ids of each text, with [CLS] and [SEP], cut at 256 (3.3). list of list of int."""
    return tokenizer(list(texts), truncation=True, max_length=min(MAX_LENGTH, tokenizer.model_max_length),
                     return_attention_mask=False, return_token_type_ids=False)["input_ids"]


def pad(tokenizer, ids, device):
    """Rows of ids as (input_ids, attention_mask) tensors, padded to the longest of the batch (3.3: dynamic padding)."""
    batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(device)
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


@torch.inference_mode()
def predict_proba(model, tokenizer, inputs, precision="fp32", token_budget=None):
    """Class probabilities, float64 (n, 5). THE one way any script asks a model anything.

    inputs: texts, or tuples of token ids without [CLS] and [SEP] (so that removing a token removes just that token).
    What is asked twice is run once; inputs of like length share a batch of at most token_budget tokens (384 on a CPU,
    16,384 on a GPU). Where a batch does not fit into a GPU's memory, the model's budget is halved from there on.
    """
    if token_budget or not hasattr(model, "token_budget"):
        model.token_budget = token_budget or (16384 if model.device.type == "cuda" else 384)
    distinct = list(dict.fromkeys(inputs))
    texts = [x for x in distinct if isinstance(x, str)]
    ids = dict(zip(texts, encode(tokenizer, texts))) if texts else {}
    room = min(MAX_LENGTH, tokenizer.model_max_length) - 2
    ids |= {x: [tokenizer.cls_token_id, *x[:room], tokenizer.sep_token_id] for x in distinct if not isinstance(x, str)}

    distinct.sort(key=lambda x: -len(ids[x]))  # longest first: its length is the batch's
    probabilities = {}
    while len(probabilities) < len(distinct):
        start = len(probabilities)
        batch = distinct[start:start + max(1, model.token_budget // len(ids[distinct[start]]))]
        try:
            with autocast(model.device, precision):
                logits = model(**pad(tokenizer, [ids[x] for x in batch], model.device)).logits
            probabilities.update(zip(batch, logits.double().softmax(-1).cpu().numpy()))
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            model.token_budget //= 2
            print(f"the GPU's memory is full: batches of {model.token_budget} tokens from here on", flush=True)
    result = np.array([probabilities[x] for x in inputs]).reshape(len(inputs), len(LABELS))
    if not np.isfinite(result).all():
        stop("the model gave probabilities that are not numbers: its weights are damaged, or its training diverged. "
             "Train it again with --overwrite")
    return result


# ---------------------------------------------------------------------------------------------------------------------
# 4. The optimisation protocol (3.4), identical for 01 and 02: the loss is what they pass in

def add_training_flags(cli):
    """The protocol's numbers as flags; the defaults are the paper's (3.3, 3.4)."""
    cli.add_argument("--epochs", type=positive, default=10, help="at most this many passes over the text")
    cli.add_argument("--patience", type=positive, default=2, help="epochs without a lower validation loss before stopping")
    cli.add_argument("--learning-rate", type=float, default=2e-5, help="AdamW's peak, after the warm-up")
    cli.add_argument("--batch-size", type=positive, default=TRAIN_BATCH, help="training sentences a step")
    cli.add_argument("--precision", choices=("auto", "fp32", "fp16", "bf16"), default="auto",
                     help="of matrix products; auto is fp16 on a GPU and fp32 on a CPU")
    cli.add_argument("--group-by-length", action="store_true", help="batches of sentences of like length: less padding, "
                     "the same sentences an epoch (not the paper's)")
    cli.add_argument("--max-steps", type=positive, help="stop an epoch after this many batches (for trying things out)")


def training_precision(args, device):
    """fp32, fp16 or bf16, with auto decided (A10)."""
    return args.precision if args.precision != "auto" else "fp16" if device.type == "cuda" else "fp32"


def seed_all(seed):
    """Python, NumPy and torch (3.5)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def shuffled_batches(lengths, size, seed, epoch, group_by_length):
    """Index lists of one epoch's batches; a function of (seed, epoch) alone. lengths: tokens of each sentence."""
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
    if group_by_length:  # sort within stretches of 50 batches, then shuffle the batches
        stretches = [order[i:i + 50 * size] for i in range(0, len(order), 50 * size)]
        order = np.concatenate([s[np.argsort(np.array(lengths)[s], kind="stable")] for s in stretches])
    batches = [order[i:i + size] for i in range(0, len(order), size)]
    if group_by_length:
        np.random.default_rng([seed, epoch, 1]).shuffle(batches)
    return batches


def fit(model, tokenizer, splits, loss_fn, args, stamp):
    """Section 3.4: AdamW, linear warm-up of 10%, clipping at 1.0, early stopping on the validation loss, best weights kept.

    loss_fn(logits (b, 5), labels (b,), input_ids (b, length)) -> mean loss of the batch. The validation loss is the same
    function (A8). Returns the log, one dict an epoch; the model holds the best epoch's weights and is in eval mode. After an
    interruption it goes on from the last finished epoch, as if nothing had been.
    """
    device = model.device
    precision = training_precision(args, device)
    ids = {split: encode(tokenizer, [row["text"] for row in splits[split]]) for split in ("train", "validation")}
    labels = {split: torch.tensor([row["label"] for row in splits[split]], device=device) for split in ids}

    def batch_loss(split, rows):
        batch = pad(tokenizer, [ids[split][i] for i in rows], device)
        with autocast(device, precision):
            logits = model(**batch).logits
        return loss_fn(logits.float(), labels[split][rows], batch["input_ids"]), logits

    seed_all(args.seed)  # dropout from here on
    per_epoch = min(args.max_steps or 10**9, -(-len(ids["train"]) // args.batch_size))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, fused=True)  # A9: its weight decay, 0.01
    scheduler = transformers.get_linear_schedule_with_warmup(
        optimizer, int(0.1 * per_epoch * args.epochs), per_epoch * args.epochs)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
    stamp = stamp | {"inputs": stamp["inputs"] | {"precision": precision}}  # auto depends on the device
    log, best_weights = load_checkpoint(args, stamp, parts)
    best = min(log, key=lambda e: e["validation_loss"], default={"epoch": 0, "validation_loss": float("inf")})
    while len(log) < args.epochs and len(log) - best["epoch"] < args.patience:
        epoch, started, train_loss, seen = len(log) + 1, time.time(), 0.0, 0
        batches = shuffled_batches([len(x) for x in ids["train"]], args.batch_size, args.seed, epoch, args.group_by_length)
        model.train()
        for rows in progress(batches[:per_epoch], f"{args.name}, epoch {epoch}/{args.epochs}", "batch"):
            loss, _ = batch_loss("train", rows)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scale = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            if scaler.get_scale() >= scale:  # fp16 skips a step whose gradient overflowed; so does the schedule
                scheduler.step()
            train_loss += loss.item() * len(rows)
            seen += len(rows)

        model.eval()
        val_loss, correct, n = 0.0, 0, len(ids["validation"])
        with torch.inference_mode():
            for rows in np.split(np.arange(n), range(EVAL_BATCH, n, EVAL_BATCH)):  # in the original order (3.3)
                loss, logits = batch_loss("validation", rows)
                val_loss += loss.item() * len(rows) / n
                correct += (logits.argmax(-1) == labels["validation"][rows]).sum().item()
        if not np.isfinite(val_loss):
            stop(f"the validation loss of {args.name} is {val_loss} after epoch {epoch}: training diverged. Nothing was "
                 "saved; with --overwrite, a lower --learning-rate or --precision fp32 usually mends it")
        log.append({"epoch": epoch, "train_loss": train_loss / seen, "validation_loss": val_loss,
                    "validation_accuracy": correct / n, "seconds": round(time.time() - started, 1)})
        print(f"{args.name} epoch {epoch}: train loss {train_loss / seen:.4f}, validation loss {val_loss:.4f}, "
              f"validation accuracy {correct / n:.4f}, {log[-1]['seconds']:.0f} s", flush=True)
        if val_loss < best["validation_loss"]:
            best = log[-1]
            best_weights = {key: value.detach().clone() for key, value in model.state_dict().items()}  # a copy, not a view
        save_checkpoint(args, stamp, parts, log, best_weights)
    model.eval().load_state_dict(best_weights)
    print(f"{args.name}: weights of epoch {best['epoch']}, validation loss {best['validation_loss']:.4f}")
    return log


def save_checkpoint(args, stamp, parts, log, best_weights):
    """The state after an epoch, as models/.<name>.epoch<N>.pt; it counts once .<name>.checkpoint.json names it, whole."""
    mark = Path(args.artifacts) / "models" / f".{args.name}.checkpoint.json"
    mark.parent.mkdir(parents=True, exist_ok=True)
    state = mark.with_name(f".{args.name}.epoch{len(log)}.pt")
    cuda = parts["model"].device.type == "cuda"
    with open(state, "wb") as file:
        torch.save({**{name: part.state_dict() for name, part in parts.items()}, "log": log, "best_weights": best_weights,
                    "python": random.getstate(), "numpy": plain(np.random.get_state()), "torch": torch.get_rng_state(),
                    "cuda": torch.cuda.get_rng_state(parts["model"].device) if cuda else None}, file)
    write_json(mark, stamp | {"state": state.name, "sha256": file_digest(state)})
    remove_checkpoint(args, but=state)


def load_checkpoint(args, stamp, parts):
    """(log, best weights) of an interrupted run of the same arguments, whose state the parts and the random generators then
    have; ([], None) where there is none."""
    mark = Path(args.artifacts) / "models" / f".{args.name}.checkpoint.json"
    if not already_made(mark, stamp, args.overwrite):
        return [], None
    made = read_json(mark, "the same command with --overwrite")
    path = mark.with_name(made["state"])
    if not path.is_file() or file_digest(path) != made["sha256"]:
        print(f"{path} is damaged; training starts anew")
        return [], None
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and parts["model"].device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], parts["model"].device)
    print(f"{args.name}: goes on after epoch {len(state['log'])}", flush=True)
    return state["log"], state["best_weights"]


def remove_checkpoint(args, but=None):
    """Every state of this model but one; without that one, their mark too."""
    models = Path(args.artifacts) / "models"
    for path in models.glob(f".{args.name}.epoch*.pt"):
        if path != but:
            path.unlink()
    if but is None:
        (models / f".{args.name}.checkpoint.json").unlink(missing_ok=True)


def save_classifier(model, tokenizer, log, args, stamp):
    """models/<name>/: a Hugging Face folder, training_log.json and, last of all, stamp.json; whole or absent."""
    folder = Path(args.artifacts) / "models" / args.name
    partial, old = folder.with_name(f".{args.name}.partial"), folder.with_name(f".{args.name}.old")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    write_json(partial / "training_log.json", log)
    files = {path.name: file_digest(path) for path in sorted(partial.iterdir())}
    write_json(partial / "stamp.json", stamp | {"weights": files["model.safetensors"], "files": files,
                                                "seconds": round(sum(epoch["seconds"] for epoch in log), 1)})
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    remove_checkpoint(args)
    print(f"wrote {folder}")


# ---------------------------------------------------------------------------------------------------------------------
# 5. The unit of explanation (3.6, 3.7): wordpieces by position, [CLS] and [SEP] left out, punctuation kept (A3)

def token_ids(tokenizer, text):
    """The wordpiece ids of a text, without [CLS] and [SEP], as predict_proba takes them."""
    return tuple(tokenizer(text, add_special_tokens=False, return_token_type_ids=False, verbose=False)["input_ids"])


def token_spans(tokenizer, text):
    """(wordpieces, [[start, end], ...]): the pieces and the characters of the text each stands for."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return tokenizer.convert_ids_to_tokens(encoded["input_ids"]), [list(span) for span in encoded["offset_mapping"]]


def top_k(scores, k):
    """Positions of the k largest |scores|, largest first; equal ones (to 12 digits) in the order of the sentence (A5). (n,)"""
    return np.argsort(-np.round(np.abs(np.asarray(scores)), 12), kind="stable")[:k]


def own_class(row):
    """phi (n,) of the class that the model predicts (3.6), from an explained row."""
    return np.array(row["attributions"], dtype=float).reshape(-1, len(LABELS))[:, row["predicted"]]


def cosine(a, b):
    """3.7 (3), of two attribution vectors over the same wordpieces (A17: all of them); a zero vector has no direction: NaN."""
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm > 0 else np.nan


def remove(ids, positions):
    """What "remove" means (A4): the wordpieces at these positions are deleted, the rest closes up."""
    gone = {int(p) for p in positions}
    return tuple(x for i, x in enumerate(ids) if i not in gone)


# ---------------------------------------------------------------------------------------------------------------------
# 6. Explainers (3.6)

def add_shap_flags(parser):
    """How SHAP is run; the defaults are the paper's (3.6)."""
    parser.add_argument("--max-evals", type=positive, default=SHAP_EVALS, help="SHAP: masked sentences a sentence (A12)")
    parser.add_argument("--reference", choices=("embedding", "mask"), default="embedding",
                        help="SHAP: what stands for an absent token: the mean embedding of the background (A11), or [MASK]")
    parser.add_argument("--background", type=positive, default=50, help="SHAP: training sentences the mean is over")


@contextmanager
def shap_reference(model, tokenizer, train, args):
    """SHAP's reference distribution (3.6): "a summary of BERT's internal token embeddings ... 50 background samples".

    The summary is the mean input embedding over all wordpieces of the background sentences, in the model's own table, and
    it stands in the [MASK] row, which is what the Text masker puts in place of a token, until the block ends (A11).
    --reference mask leaves the row as it is. Yields the digest of the background, or None.
    """
    if args.reference == "mask":
        yield None
        return
    background = [row["text"] for row in random.Random(args.seed).sample(train, min(args.background, len(train)))]
    table = model.get_input_embeddings().weight
    ids = [i for text in background for i in token_ids(tokenizer, text)]
    kept = table[tokenizer.mask_token_id].detach().clone()
    with torch.no_grad():
        table[tokenizer.mask_token_id] = table[ids].mean(0)
    try:
        yield digest(background)
    finally:
        with torch.no_grad():
            table[tokenizer.mask_token_id] = kept


def sentence_seed(seed, text):
    """A seed of its own for each sentence, the same for every model: explanations do not depend on what ran before."""
    return zlib.crc32(f"{seed} {text}".encode())


def explain_shap(model, tokenizer, texts, max_evals=SHAP_EVALS, seed=SEED):
    """Owen values of the probabilities by shap.Explainer with the Text masker, partition algorithm (3.6), a dict for each text.

    Each has the wordpieces' tokens and spans, their attributions (n, 5), special_attributions (2, 5) of [CLS] and [SEP], to
    which credit leaks when the budget ends before the sentence is finished, and base_values (5,). These add up to the
    probabilities. shap asks a few strings at a time, so the texts are explained by turns and what they ask shares batches.
    """
    import shap

    def job(text, ask):
        seen = {}

        def f(strings):  # about 41% of what shap asks for a sentence it has asked before
            strings = [str(s) for s in strings]
            new = [s for s in dict.fromkeys(strings) if s not in seen]
            seen.update(zip(new, ask(new) if new else ()))
            return np.array([seen[s] for s in strings])

        np.random.seed(sentence_seed(seed, text))  # the partition explainer breaks ties with the global generator
        explanation = shap.Explainer(f, shap.maskers.Text(tokenizer))([text], max_evals=max_evals, silent=True)
        values = np.asarray(explanation.values[0], dtype=float)  # (n + 2, 5)
        tokens, spans = token_spans(tokenizer, text)
        return {"tokens": tokens, "spans": spans, "attributions": values[1:-1], "special_attributions": values[[0, -1]],
                "base_values": np.asarray(explanation.base_values[0], dtype=float)}

    return by_turns([partial(job, text) for text in texts], partial(predict_proba, model, tokenizer))


def by_turns(jobs, answer):
    """The results of jobs, functions of ask(questions) -> answers. One job runs at a time, until it asks or ends, with NumPy's
    global generator as it left it; when all that have not ended have asked, answer is called once with all questions."""
    said, told, results = queue.SimpleQueue(), [queue.SimpleQueue() for _ in jobs], [None] * len(jobs)
    generators, asked = [np.random.get_state()] * len(jobs), {}

    def work(i):
        def ask(questions):
            said.put(questions)
            return told[i].get()

        try:
            results[i] = jobs[i](ask)
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread that waits
            results[i] = error
        said.put(None)

    def turn(i, start):
        np.random.set_state(generators[i])
        start()
        asked[i] = said.get()
        generators[i] = np.random.get_state()

    for i in range(len(jobs)):
        turn(i, threading.Thread(target=work, args=(i,), daemon=True).start)
    while waiting := {i: questions for i, questions in asked.items() if questions is not None}:
        answers = answer([x for questions in waiting.values() for x in questions])
        for i, questions in waiting.items():
            turn(i, partial(told[i].put, answers[:len(questions)]))
            answers = answers[len(questions):]
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def explain_lime(model, tokenizer, text, label, num_samples=5000, num_features=10, seed=SEED, precision="fp32"):
    """LIME for one class (3.6): words (every occurrence at once, the library's default), removed at random.

    Returns words, spans (a list of [start, end] for each word, one an occurrence), attributions (m,), m <= num_features,
    largest first, the intercept and the surrogate's weighted R^2. A text without a word has nothing to remove: m = 0.
    """
    from lime.lime_text import LimeTextExplainer
    if not any(c.isalnum() or c == "_" for c in text):  # \\w, as LIME splits
        return {"words": [], "spans": [], "attributions": [], "intercept": None, "r2": None}
    explainer = LimeTextExplainer(class_names=LABELS, random_state=sentence_seed(seed, text))
    explanation = explainer.explain_instance(
        text, lambda texts: predict_proba(model, tokenizer, texts, precision),
        labels=(label,), num_features=num_features, num_samples=num_samples)
    indexed = explanation.domain_mapper.indexed_string
    ids, weights = zip(*explanation.as_map()[label])
    words = [str(indexed.word(i)) for i in ids]
    return {"words": words,
            "spans": [[[int(s), int(s) + len(w)] for s in indexed.string_position(i)] for i, w in zip(ids, words)],
            "attributions": [float(w) for w in weights],
            "intercept": float(explanation.intercept[label]), "r2": float(explanation.score)}


def explain_rows(path, rows, explain, stamp, overwrite, what, together=1):
    """Append row | what explain says of it to a JSONL file for every row that is not there yet (by id); return all, in order.

    explain(list of rows) -> list of dicts. It is given stretches of as many rows as together, always the same ones, for what
    shares a batch moves last digits: a stretch of which a row is missing is explained whole.
    The file's stamp lies beside it, and every line's check rests on it. What was made in the same way is gone on with,
    damaged lines are made again; anything else stops (already_made). Under torchrun each rank takes its share of what is
    left, into a part of its own; the parts, also those that an interrupted run left, are gathered by rank 0.
    """
    path, again, (rank, ranks) = Path(path), "the same command", rank_of()
    mark, salt = path.with_suffix(".stamp.json"), stamp_salt(stamp)
    part = path.with_suffix(f".rank{rank}.jsonl") if ranks > 1 else path
    if rank == 0:
        claim(path)
        if not already_made(mark, stamp, overwrite):
            if path.is_file() and not overwrite:
                stop(f"{path} has no {mark.name} beside it that says what made it; {again} with --overwrite makes both")
            for old in (path, *path.parent.glob(f"{path.stem}.rank*.jsonl")):
                old.unlink(missing_ok=True)
            write_json(mark, stamp)
        gather(path, rows, salt)
    wait_for_all()
    there = {row["id"] for row in resumable(path, salt)}
    stretches = [rows[i:i + together] for i in range(0, len(rows), together)]
    todo = [stretch for stretch in stretches if any(row["id"] not in there for row in stretch)]
    mine, started = todo[rank::ranks], time.time()
    if rank == 0:
        print(f"{path}: {sum(row['id'] in there for row in rows)} of {len(rows)} there", flush=True)
    with progress(None, what, "sentence", sum(map(len, mine))) as bar:
        for stretch in mine:
            for row, made in zip(stretch, explain(stretch)):
                found = [np.array(run.get("attributions", ()), dtype=float) for run in made.get("runs", [made])]
                if not all(np.isfinite(attributions).all() for attributions in found):
                    stop(f"{what}: the attributions of {row['id']} are not all numbers; what was explained before it is kept")
                if row["id"] not in there:
                    append_jsonl(part, row | made, salt)
            bar.update(len(stretch))
    wait_for_all()
    if todo and rank == 0:
        gather(path, rows, salt)
        made = read_json(mark, again)
        write_json(mark, made | {"seconds": round(made.get("seconds", 0) + time.time() - started, 1)})
    wait_for_all()
    there = {row["id"]: row for row in read_jsonl(path, again, salt)}
    return [there[row["id"]] for row in rows]


def gather(path, rows, salt):
    """The ranks' parts of a JSONL file put into it, in the order of rows (others behind), and removed."""
    parts = sorted(path.parent.glob(f"{path.stem}.rank*.jsonl"))
    if parts:
        place = {row["id"]: i for i, row in enumerate(rows)}
        made = {row["id"]: row for file in (path, *parts) for row in resumable(file, salt)}
        write_jsonl(path, sorted(made.values(), key=lambda row: place.get(row["id"], len(rows))), salt)
    for file in parts:
        file.unlink()


# ---------------------------------------------------------------------------------------------------------------------
# 7. Statistics (4): every number stands with its n and a 95% interval over sentences

def summary(values, seed=SEED, draws=2000, difference=False):
    """{"mean", "sd" (n - 1), "low", "high", "n"} of a sample; NaN is undefined and does not count.

    The interval is the 95% percentile bootstrap over the sample; for a rate (all values 0 or 1, and no difference of two
    things) it is Wilson's, which does not collapse at 0 and 1.
    """
    from scipy.stats import binomtest
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return {"mean": None, "sd": None, "low": None, "high": None, "n": 0}
    if set(values) <= {0.0, 1.0} and not difference:
        low, high = binomtest(int(values.sum()), len(values)).proportion_ci(method="wilson")
    else:
        rng = np.random.default_rng(seed)
        means = values[rng.integers(len(values), size=(draws, len(values)))].mean(1)
        low, high = np.percentile(means, [2.5, 97.5])
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"mean": float(values.mean()), "sd": sd, "low": float(low), "high": float(high), "n": len(values)}


def paired(first, second, seed=SEED, draws=10_000):
    """The paired difference first - second over the same sentences: summary(), with what says whether it is one.

    p: sign-flip permutation test, two-sided (under the null each sentence's difference is as likely to have the other sign).
    d_z: mean / SD of the differences. smallest: the difference that n sentences show with power 80% at 5%, 2.8 SD / sqrt(n).
    """
    difference = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    result = summary(difference, seed, difference=True) | {"p": None, "d_z": None, "smallest": None}
    difference = difference[~np.isnan(difference)]
    if len(difference) < 2:
        return result
    signs = np.random.default_rng(seed).integers(0, 2, size=(draws, len(difference)), dtype=np.int8) * 2 - 1
    # 1e-12: a mean that differs by rounding alone counts as equally large
    as_large = np.abs(signs @ difference) >= np.abs(difference.sum()) - 1e-12
    return result | {"p": (1 + as_large.sum()) / (1 + draws), "smallest": 2.8 * result["sd"] / len(difference)**0.5,
                     "d_z": result["mean"] / result["sd"] if result["sd"] > 0 else None}


def sd_ratio(first, second, seed=SEED, draws=2000):
    """SD of first / SD of second over the same sentences, 95% percentile bootstrap, both drawn alike; a summary."""
    both = np.array([first, second], dtype=float)
    both = both[:, ~np.isnan(both).any(0)]
    n = both.shape[1]
    sds = both.std(1, ddof=1) if n > 1 else np.zeros(2)
    if not sds[1] > 1e-12:
        return summary([])
    drawn = both[:, np.random.default_rng(seed).integers(n, size=(draws, n))].std(2, ddof=1)  # (2, draws)
    low, high = np.percentile((drawn[0] / np.maximum(drawn[1], 1e-12)), [2.5, 97.5])
    return {"mean": sds[0] / sds[1], "sd": None, "low": low, "high": high, "n": n}


def paired_rates(first, second):
    """paired() for two 0/1 arrays over the same sentences. p: McNemar's exact test, the sentences on which the two differ are
    as likely to differ either way. The interval is Agresti and Min's (2005), half a sentence added to each of the four
    outcomes, which does not collapse where the two never differ."""
    from scipy.stats import binomtest
    first, second = np.asarray(first, dtype=int), np.asarray(second, dtype=int)
    result, n = summary(first - second, difference=True), len(first)
    if n == 0:
        return result | {"p": None, "d_z": None, "smallest": None}
    b, c = int((first > second).sum()), int((first < second).sum())
    middle, half = (b - c) / (n + 2), 1.96 * ((b + c + 1) - (b - c)**2 / (n + 2))**0.5 / (n + 2)
    return result | {"p": binomtest(b, b + c).pvalue if b + c else 1.0, "low": middle - half, "high": middle + half,
                     "d_z": result["mean"] / result["sd"] if result["sd"] else None, "smallest": 2.8 * (result["sd"] or 0) / n**0.5}


def holm(p_values):
    """Holm's step-down adjusted p-values: the family's chance of one false alarm stays below the level. None stays None."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted, largest = [None] * len(p_values), 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted


def compare(comparisons, measures):
    """Comparisons as paired tests over sentences, McNemar's for rates, with Holm over all of them.
    comparisons: (section, measure, first, second); measures: {measure: {first or second: (n,)}}."""
    rows = []
    for section, measure, first, second in comparisons:
        a, b = (np.asarray(measures[measure][x], dtype=float) for x in (first, second))
        rates = set(a) | set(b) <= {0.0, 1.0}
        rows.append({"section": section, "measure": measure, "first": first, "second": second, "first_mean": np.nanmean(a),
                     "second_mean": np.nanmean(b), **(paired_rates if rates else paired)(a, b)})
    return [row | {"p_holm": p} for row, p in zip(rows, holm([row["p"] for row in rows]))]


# ---------------------------------------------------------------------------------------------------------------------
# 8. Artifacts, stamps, shared flags

def cli(doc, **what_it_needs):
    """The parser with the flags all stages share. doc: the script's docstring, its first line the description."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=HelpFormatter, allow_abbrev=False)
    parser.add_argument("--artifacts", default="artifacts", metavar="DIR", help="folder that the stages share")
    parser.add_argument("--seed", type=int, default=SEED, help="for Python, NumPy and torch")
    if what_it_needs.get("data"):
        parser.add_argument("--data", default=DATASET, metavar="ID|DIR",
                            help="a data set of the Hub, or a folder with train, validation (or dev) and test .jsonl")
    if what_it_needs.get("device"):
        parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1; auto is the GPU where there is one")
        parser.add_argument("--no-deterministic", dest="deterministic", action="store_false",
                            help="let a GPU use faster algorithms that differ in the last digits from run to run")
    if what_it_needs.get("overwrite"):
        parser.add_argument("--overwrite", action="store_true", help="do it again though it is there")
    return parser


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Docstrings as they are written, and every default shown."""


def positive(text):
    """An argument that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def model_name(text):
    """A name that can be a file name and a table key."""
    if not text.replace("_", "").replace("-", "").isalnum() or not text.isascii():
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits, _ and - only")
    return text


def progress(items, what, unit, total=None):
    """A bar with rate and ETA on a terminal, nothing elsewhere."""
    return tqdm(items, desc=what, unit=unit, total=total, position=rank_of()[0], disable=None, dynamic_ncols=True)


def run(main):
    """Call a stage's main(); time and memory go into runs.jsonl, Ctrl-C, a full disk and a read-only folder into one line."""
    started = time.time()
    try:
        args = main()
    except KeyboardInterrupt:
        print("\ninterrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        if not (reason := no_room(error)):
            raise
        stop(f"{reason}. What is finished is kept, the same command goes on from there")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    record = {"stage": Path(sys.argv[0]).stem, "name": getattr(args, "name", None), "data": getattr(args, "data", None), "argv": sys.argv[1:],
              "seconds": round(time.time() - started, 1), "peak_memory_gb": round(peak / 1e9, 2),
              "finished": time.strftime("%Y-%m-%d %H:%M:%S"), "machine": machine()}
    if torch.cuda.is_initialized():
        record["peak_gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    if rank_of()[0]:
        return
    append_jsonl(Path(args.artifacts) / "runs.jsonl", record)
    print(f"{record['stage']} {record['name'] or ''}: {record['seconds']:.0f} s, {record['peak_memory_gb']} GB")


def rank_of():
    """(rank, number of ranks) under torchrun; (0, 1) without."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def wait_for_all():
    """Until every rank has come here."""
    if rank_of()[1] > 1:
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo", timeout=timedelta(days=2))
        torch.distributed.barrier()


def no_room(error):
    """What kept a file from being written, where an exception, or the one it came of, says so."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if "os error 28" in str(error):  # safetensors' words
        return os.strerror(errno.ENOSPC)
    return error.__context__ and no_room(error.__context__)


def machine():
    """One line about the hardware."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs{gpu}"


def make_stamp(args, device, without=(), **inputs):
    """Who made an artifact. "arguments" and "inputs" (digests) decide what it is, and are compared; the rest is told.

    without: arguments that do not change the result. The text is known by its digest, not by where it lies.
    """
    skip = {"artifacts", "overwrite", "data", "device", "deterministic", *without}
    here = Path(__file__).parent
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, check=False, capture_output=True, text=True)
    return {"arguments": {k: v for k, v in sorted(vars(args).items()) if k not in skip}, "inputs": inputs,
            "versions": {p: version(p) for p in ("torch", "transformers", "shap", "lime", "numpy")},
            "commit": git.stdout.strip() or "unknown", "device": str(device)}


def already_made(path, stamp, overwrite):
    """True when the artifact whose stamp lies at path is there and was made in the same way; otherwise False, or a stop
    that names what differs: an artifact is never silently replaced, nor silently taken for another one."""
    if overwrite or not Path(path).is_file():
        return False
    old = read_json(path, "the same command with --overwrite")
    if differ := "; ".join(filter(None, (differences(old[part], stamp[part]) for part in ("arguments", "inputs")))):
        stop(f"{path} is of another run of this stage ({differ}); --overwrite replaces it, --artifacts DIR keeps both")
    if differ := differences(*({"device": s.get("device"), **s.get("versions", {})} for s in (old, stamp))):
        print(f"{path} was made elsewhere: {differ}")
    return True


def differences(there, now):
    """Where two parts of stamps differ, in words; "" where they do not."""
    return "; ".join(f"{key} {there.get(key)} there, {now.get(key)} now" for key in sorted(there.keys() | now.keys())
                     if json.dumps(there.get(key)) != json.dumps(now.get(key)))


def claim(path, shared=False):
    """Keep other processes off an artifact until this one ends, however it ends: the kernel holds the lock, on a file beside
    it. shared: readers, any number of them. A second process is refused."""
    lock = Path(path).with_name(f".{Path(path).name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:  # the descriptor stays open on purpose
        fcntl.lockf(os.open(lock, os.O_RDWR | os.O_CREAT, 0o666), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        stop(f"another process is {'writing' if shared else 'using'} {path}; wait until it ends")


def file_digest(path):
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value):
    """SHA-256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def model_folder(artifacts, name):
    """models/<name>, which must be finished."""
    folder = Path(artifacts) / "models" / name
    if not (folder / "stamp.json").is_file():
        there = ", ".join(sorted(p.parent.name for p in (Path(artifacts) / "models").glob("*/stamp.json"))) or "none"
        stop(f"there is no finished model {name!r} in {artifacts}/models (there: {there}); "
             f"01_train.py or 02_distill.py --artifacts {artifacts} --name {name} makes it")
    claim(folder, shared=True)  # not replaced as long as this process reads it
    return folder


def weights_of(artifacts, name, splits=None):
    """The digest of the weights of models/<name>; stops where it was trained on another text than splits."""
    stamp = read_json(model_folder(artifacts, name) / "stamp.json", MAKES_MODEL)
    if splits and stamp["inputs"]["text"] != digest(splits):
        stop(f"models/{name} was trained on another text ({stamp['inputs']['text'][:12]}) than --data holds "
             f"({digest(splits)[:12]}); pass the --data it was trained on, or {MAKES_MODEL} trains it on this one")
    return stamp["weights"]


def load_subset(artifacts):
    """The sentences that 03 drew (3.1)."""
    path = Path(artifacts) / "subset.jsonl"
    if not path.is_file():
        stop(f"{path} is missing; 03_explain.py --artifacts {artifacts} --name bert draws it")
    return read_jsonl(path, "removing it and running 03_explain.py")


def load_explanations(artifacts, name, method, subset, whole=True):
    """explanations/<name>.<method>.jsonl in the order of the subset, and its stamp; stops unless they belong together:
    made of the weights that models/<name> holds now, of these sentences, and of all of them (whole)."""
    path = Path(artifacts) / "explanations" / f"{name}.{method}.jsonl"
    again = f"03_explain.py --artifacts {artifacts} --name {name} --methods {method}"
    stamp = read_json(path.with_suffix(".stamp.json"), again)
    weights = weights_of(artifacts, name)
    if stamp["inputs"]["weights"] != weights:
        stop(f"{path} explains weights {stamp['inputs']['weights'][:12]}, models/{name} holds {weights[:12]}; "
             f"{again} --overwrite explains them again")
    if stamp["inputs"]["subset"] != digest([row["text"] for row in subset]):
        stop(f"{path} explains other sentences than {artifacts}/subset.jsonl holds; {again} --overwrite explains them again")
    claim(path, shared=True)
    rows = {row["id"]: row for row in read_jsonl(path, again, stamp_salt(stamp))}
    if whole and rows.keys() != {row["id"] for row in subset}:
        stop(f"{path} has {len(rows)} of {len(subset)} sentences; {again} goes on where it stopped")
    return [rows[row["id"]] for row in subset if row["id"] in rows], stamp


def read_json(path, made_by=None):
    """A JSON file. made_by: the command that makes it, for the message where it is missing or not as write_json left it."""
    try:
        value = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        stop(f"{path} is missing" + (f"; {made_by} makes it" if made_by else ""))
    except (ValueError, RecursionError):
        stop(f"{path} is not JSON" + (f" any more; {made_by} makes it again" if made_by else ""))
    if made_by and (value := unsealed(value)) is None:
        stop(f"{path} was damaged or edited; {made_by} makes it again")
    return value


@contextmanager
def whole(path):
    """Whole or absent: yields a path beside the file's place; what the block wrote there is renamed into it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path, value):
    """A JSON file, a dict with its check. NaN is written as null."""
    value = plain(value)
    with whole(path) as partial:
        partial.write_text(json.dumps(sealed(value) if isinstance(value, dict) else value, indent=1, allow_nan=False) + "\n")


def json_line(row, salt=0):
    """A row as a line of JSONL, its check last."""
    return json.dumps(sealed(plain(row), salt), allow_nan=False).encode() + b"\n"


def write_jsonl(path, rows, salt=0):
    """A JSONL file that is there at once."""
    with whole(path) as partial:
        partial.write_bytes(b"".join(json_line(row, salt) for row in rows))


def append_jsonl(path, row, salt=0):
    """One more line, flushed to disk, in place of what a kill left of one. Any number of processes may append at once."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json_line(row, salt))
        file.flush()
        os.fsync(file.fileno())


def resumable(path, salt=0):
    """The rows of a JSONL file that a stage appends to, or []. Lines cut short by a kill, damaged or edited leave the file."""
    lines = [line for line in Path(path).read_bytes().split(b"\n") if line.strip()] if Path(path).is_file() else []
    rows = [parse_line(line, True, salt) for line in lines]
    if None in rows:
        print(f"{path}: {rows.count(None)} of {len(rows)} lines are damaged, edited or of another run and left out")
        with whole(path) as partial:
            partial.write_bytes(b"".join(line + b"\n" for line, row in zip(lines, rows) if row is not None))
    return [row for row in rows if row is not None]


def sealed(value, salt=0):
    """A dict with "check", the CRC-32 of the rest as JSON, for its last field: what is damaged or edited later is found."""
    return value | {"check": f"{zlib.crc32(json.dumps(value).encode(), salt):08x}"}


def unsealed(value, salt=0):
    """A sealed dict without its check; None for anything else."""
    rest = {key: v for key, v in value.items() if key != "check"} if isinstance(value, dict) else {}
    return rest if sealed(rest, salt) == value else None


def stamp_salt(stamp):
    """What the checks of an artifact's lines begin with, so that another run's lines are not taken for its own."""
    return zlib.crc32(digest([stamp["arguments"], stamp["inputs"]]).encode())


def plain(value):
    """value with NumPy's types turned into Python's, and NaN into None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value
