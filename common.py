"""Faithfulness and Reasoning Drift in Compressed Transformers (2025): what the six scripts share.

Read beside the paper, top to bottom:

    1. What the paper fixes            3.1-3.7
    2. Text                            3.1, 3.3
    3. The classifier                  3.2, 3.3
    4. The optimisation protocol       3.4
    5. The unit of explanation         3.6, 3.7
    6. Explainers                      3.6
    7. Artifacts and shared flags

A number such as A4 is an assumption of ours where the paper is silent or contradicts itself. The
README lists them all, and describes the files that pass between the scripts.
"""
import argparse
import errno
import hashlib
import json
import math
import os
import platform
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

# Before the libraries are imported, which read these once.
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # no server is asked to convert a .bin
os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # no notices about retries and dataset cards
os.environ.setdefault("DATASETS_VERBOSITY", "error")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # repeatable matrix products on a GPU

import numpy as np
import torch
import transformers
from huggingface_hub import constants
from tqdm import tqdm
from transformers import (AutoConfig, AutoModelForSequenceClassification, AutoTokenizer,
                          PretrainedConfig)

# -------------------------------------------------------------------------------------------------
# 1. What the paper fixes

LABELS = ("very negative", "negative", "neutral", "positive", "very positive")  # 3.1: classes 0..4
PAPER_MODELS = ("bert", "distilbert", "kd_tinybert")  # 3.2, in the order of its tables
MODELS = {"bert": "BERT", "distilbert": "DistilBERT", "kd_tinybert": "KD-TinyBERT",
          "tinybert_ce": "TinyBERT-CE"}  # the last is our control: TinyBERT without a teacher
PAIRS = (("bert", "distilbert"), ("bert", "kd_tinybert"), ("distilbert", "kd_tinybert"))  # 3.7 (2)
KS = (3, 5, 10)  # 4.2
SEED = 42  # 3.5
MAX_LENGTH = 256  # 3.3: tokens, with [CLS] and [SEP]
TRAIN_BATCH, EVAL_BATCH = 32, 64  # 3.3: sentences
PER_CLASS = 30  # 3.1: 150 sentences for 5 classes
BACKGROUND = 50  # 3.6: background samples of SHAP
SHAP_EVALS = 500  # A12: "default partition sampling"; the library's default budget
SHAP_BATCH = 20  # A19: masked sentences that SHAP asks for at once

DATASET = "SetFit/sst5"  # 3.3
SPLITS = {"train": 8544, "validation": 1101, "test": 2210}  # 3.3: its predefined splits
REVISIONS = {  # commits on the Hub, so that a later push cannot change a result
    DATASET: "e51bdcd8cd3a30da231967c1a249ba59361279a3",
    "bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "distilbert-base-uncased": "12040accade4e8a0f71eabdb258fecc2e7e948be",
    "huawei-noah/TinyBERT_General_6L_768D": "8b6152f3be8ab89055dea2d040cebb9591d97ef6",
}


def stop(message):
    """End the program for a user's error: one line on stderr, exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


# -------------------------------------------------------------------------------------------------
# 2. Text (3.1, 3.3)

def load_splits(data):
    """{"train" | "validation" | "test": [{"id": "test-17", "text": str, "label": 0..4}, ...]}.

    data: a folder with train, validation (or dev) and test .jsonl, or a data set of the Hub. The
    text is untouched (3.3). The id is the split and the row in it, counted from 0.
    """
    if Path(data).is_dir():
        loaded = {}
        for split in SPLITS:
            names = ("validation", "dev") if split == "validation" else (split,)
            paths = [path for name in names if (path := Path(data) / f"{name}.jsonl").is_file()]
            if not paths:
                stop(f"{data} has no {' or '.join(names)}.jsonl; --data takes a folder with train, "
                     "validation (or dev) and test .jsonl of text and label")
            loaded[split] = read_jsonl(paths[0])
    else:
        with from_hub(data, "pass --data DIR with its train, validation and test .jsonl"):
            import datasets  # here, for it is slow to import and a local folder does not need it
            datasets.disable_progress_bars()
            loaded = datasets.load_dataset(data, revision=REVISIONS.get(data))
    splits = {}
    for split in SPLITS:
        if split not in loaded:
            stop(f"{data} has no split {split}, only {', '.join(loaded)}")
        splits[split] = [{"id": f"{split}-{i}", "text": row.get("text"), "label": row.get("label")}
                         for i, row in enumerate(loaded[split])]
        for row in splits[split]:
            if not isinstance(row["text"], str) or not row["text"].strip():
                stop(f"{data}: {row['id']} has no text")
            if row["label"] not in range(len(LABELS)):
                stop(f"{data}: the label of {row['id']} is {row['label']!r}, not one of 0 to 4")
    if data == DATASET and {split: len(rows) for split, rows in splits.items()} != SPLITS:
        stop(f"{data} no longer has the paper's {SPLITS} sentences")
    return splits


@contextmanager
def from_hub(name, offline_hint):
    """Loading name, a repository of the Hub or a folder; where that fails: one line, exit status 2.

    A connection is tried first, for 3 seconds: the libraries would retry for half a minute.
    offline_hint: what the user can do where there is no network.
    """
    hub = urlsplit(constants.ENDPOINT)  # HF_ENDPOINT, or https://huggingface.co
    proxy = getproxies().keys() & {hub.scheme, "all"}
    try:
        if not (Path(name).is_dir() or constants.HF_HUB_OFFLINE or proxy):
            port = hub.port or (443 if hub.scheme == "https" else 80)
            socket.create_connection((hub.hostname, port), timeout=3).close()
        yield
    except ImportError as error:
        stop(f"the installation is broken: {one_line(error.__cause__ or error)}")
    except Exception as error:  # the libraries raise at least four unrelated types for one cause
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        stop(f"{name} could not be loaded as a folder or from {hub.hostname} ({one_line(error)}). "
             f"On Kaggle turn Internet on; without a network {offline_hint}; HF_HUB_OFFLINE=1 "
             "takes what an earlier run downloaded")


def one_line(error):
    """The type and the message of an exception, in one line of at most 200 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


# -------------------------------------------------------------------------------------------------
# 3. The classifier (3.2, 3.3)

def pick_device(name):
    """torch.device for auto, cpu, cuda or cuda:1. A GPU has to use its repeatable algorithms."""
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).add(1).cpu()
    except (RuntimeError, AssertionError) as error:
        stop(f"torch {torch.__version__} cannot use the device {name!r} "
             f"({one_line(error)}). On Kaggle choose T4 x2, not P100; or pass --device cpu")
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, changes nothing
    return device


def pick_precision(name, device):
    """fp32, fp16 or bf16; auto is fp16 on a GPU, fp32 on a CPU (A10)."""
    if name != "auto":
        return name
    return "fp16" if device.type == "cuda" else "fp32"


def load_encoder(checkpoint, seed, keep_layers=()):
    """A pretrained encoder with a new 5-class head drawn from the seed, and its tokenizer (3.2).

    keep_layers: the encoder layers to keep, counted from 0; () is all. Stops when anything but the
    head is missing from the checkpoint.
    """
    quiet()
    revision = REVISIONS.get(checkpoint, "main")
    id2label = dict(enumerate(LABELS))
    with from_hub(checkpoint, "pass --checkpoint DIR with its config.json, vocab.txt and weights"):
        fields, _ = PretrainedConfig.get_config_dict(checkpoint, revision=revision)
        model_type = fields.pop("model_type", "bert")  # a copy of TinyBERT's repository may lack it
        fields |= {"id2label": id2label, "label2id": {label: i for i, label in id2label.items()}}
        config = AutoConfig.for_model(model_type, **fields)
        # do_lower_case: transformers 5.0 to 5.2 do not lower-case where vocab.txt stands alone
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, revision=revision, config=config,
                                                  do_lower_case=True)
        torch.manual_seed(seed)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, revision=revision, config=config, output_loading_info=True)
    missing = [key for key in info["missing_keys"] if "classifier" not in key]
    if missing:
        stop(f"{checkpoint} lacks {len(missing)} weights of its encoder, {min(missing)} among them")
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
    if keep_layers:
        if model_type != "bert":
            stop(f"--keep-layers takes a BERT, {checkpoint} is a {model_type}")
        layers = model.base_model.encoder.layer
        if max(keep_layers) >= len(layers):
            stop(f"--keep-layers: {checkpoint} has the layers 0 to {len(layers) - 1}")
        model.base_model.encoder.layer = torch.nn.ModuleList(layers[i] for i in keep_layers)
        model.config.num_hidden_layers = len(keep_layers)
    return model.float(), tokenizer


def load_classifier(artifacts, name, device):
    """(model in eval mode, fp32; tokenizer) of models/<name>, as 01 or 02 saved it."""
    quiet()
    folder = Path(artifacts) / "models" / name
    model_stamp(artifacts, name)
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    model.float().eval().requires_grad_(False)
    skip_unused_positions(model)
    return model.to(device), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def skip_unused_positions(model):
    """The head reads [CLS] alone, so the feed-forward block of the last layer is computed for [CLS]
    alone: the same logits, faster. The hook is on the LayerNorm between attention and the block."""
    blocks = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    norms = [m for m in blocks[-1][-1].modules() if isinstance(m, torch.nn.LayerNorm)]
    norms[0].register_forward_pre_hook(lambda _, inputs: (inputs[0][:, :1],))


def quiet():
    """No progress bars and no loading reports from transformers."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def autocast(device, precision):
    """Mixed precision: fp16 or bf16 matrix products over fp32 weights; fp32 changes nothing."""
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def encode(tokenizer, texts):
    """Token ids of each text, with [CLS] and [SEP], cut at 256 (3.3). list of list of int."""
    longest = min(MAX_LENGTH, tokenizer.model_max_length)
    return tokenizer(list(texts), truncation=True, max_length=longest, return_attention_mask=False,
                     return_token_type_ids=False)["input_ids"]


def pad(tokenizer, ids, device):
    """Rows of ids as model inputs, padded to the longest of the batch (3.3: dynamic padding)."""
    batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(device)
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


@torch.inference_mode()
def predict_logits(model, tokenizer, inputs, precision="fp32"):
    """Logits, float64 (n, 5).

    inputs: texts, or tuples of wordpiece ids without [CLS] and [SEP], so that removing a token
    removes just that token. Equal inputs run once. Inputs of like length share a batch of at most
    384 tokens on a CPU, 16,384 on a GPU.
    """
    distinct = list(dict.fromkeys(inputs))
    texts = [x for x in distinct if isinstance(x, str)]
    ids = dict(zip(texts, encode(tokenizer, texts))) if texts else {}
    room = min(MAX_LENGTH, tokenizer.model_max_length) - 2
    for x in distinct:
        if not isinstance(x, str):
            ids[x] = [tokenizer.cls_token_id, *x[:room], tokenizer.sep_token_id]

    token_budget = 16384 if model.device.type == "cuda" else 384
    distinct.sort(key=lambda x: -len(ids[x]))  # longest first: its length is the batch's
    logits, start = {}, 0
    while start < len(distinct):
        batch = distinct[start:start + max(1, token_budget // len(ids[distinct[start]]))]
        start += len(batch)
        with autocast(model.device, precision):
            out = model(**pad(tokenizer, [ids[x] for x in batch], model.device)).logits
        logits.update(zip(batch, out.double().cpu().numpy()))
    result = np.array([logits[x] for x in inputs]).reshape(len(inputs), len(LABELS))
    if not np.isfinite(result).all():
        stop("the model returned non-finite logits: train it again with --overwrite")
    return result


def predict_proba(model, tokenizer, inputs, precision="fp32"):
    """Class probabilities, float64 (n, 5): how 03, 04 and 05 score texts."""
    return torch.from_numpy(predict_logits(model, tokenizer, inputs, precision)).softmax(-1).numpy()


# -------------------------------------------------------------------------------------------------
# 4. The optimisation protocol (3.4), identical for 01 and 02: the loss is what they pass in

def add_training_flags(parser):
    """The protocol's numbers as flags; the defaults are the paper's (3.3, 3.4)."""
    parser.add_argument("--checkpoint", required=True, metavar="ID|DIR",
                        help="pretrained encoder: a model of the Hub, or a folder")
    parser.add_argument("--keep-layers", type=int, nargs="+", default=[], metavar="I",
                        help="keep only these layers of the checkpoint, counted from 0")
    parser.add_argument("--epochs", type=positive, default=10, help="at most this many (A7)")
    parser.add_argument("--patience", type=positive, default=2,
                        help="epochs without a lower validation loss before training stops")
    parser.add_argument("--learning-rate", type=float, default=2e-5, help="after the warm-up")
    parser.add_argument("--batch-size", type=positive, default=TRAIN_BATCH, help="sentences a step")
    parser.add_argument("--precision", choices=("auto", "fp32", "fp16", "bf16"), default="auto",
                        help="of matrix products; auto is fp16 on a GPU, fp32 on a CPU (A10)")
    parser.add_argument("--group-by-length", action="store_true",
                        help="batches of sentences of like length: faster, and not the paper's way")


def training_arguments(args):
    """The flags that decide what a training gives, and the commit on the Hub that --checkpoint is
    loaded from. The stamp knows the text by its digest."""
    excluded = ("artifacts", "data", "device", "overwrite")
    arguments = {key: value for key, value in vars(args).items() if key not in excluded}
    return arguments | {"revision": REVISIONS.get(args.checkpoint)}


def shuffled_batches(lengths, size, seed, epoch, group_by_length):
    """Index lists of one epoch's batches, by seed and epoch. lengths: tokens of each sentence."""
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
    if group_by_length:  # sort within stretches of 50 batches, then shuffle the batches
        stretches = [order[i:i + 50 * size] for i in range(0, len(order), 50 * size)]
        lengths = np.array(lengths)
        order = np.concatenate([s[np.argsort(lengths[s], kind="stable")] for s in stretches])
    batches = [order[i:i + size] for i in range(0, len(order), size)]
    if group_by_length:
        np.random.default_rng([seed, epoch, 1]).shuffle(batches)
    return batches


def fit(model, tokenizer, splits, loss_fn, args):
    """Section 3.4: AdamW, linear warm-up of 10%, clipping at 1.0, early stopping, best weights.

    loss_fn(logits (b, 5), labels (b,), split, rows (b,)) -> mean loss of these rows of the split.
    Early stopping uses the same loss on the validation split (A8). Returns the log, one dict an
    epoch; the model holds the weights of the best epoch and is in eval mode.
    """
    device, name = model.device, f"{args.model}_{args.seed}"
    precision = pick_precision(args.precision, device)
    ids = {split: encode(tokenizer, [row["text"] for row in splits[split]]) for split in splits}
    labels = {split: torch.tensor([row["label"] for row in splits[split]], device=device)
              for split in splits}

    def batch_loss(split, rows):
        with autocast(device, precision):
            logits = model(**pad(tokenizer, [ids[split][i] for i in rows], device)).logits
        return loss_fn(logits.float(), labels[split][rows], split, rows), logits

    for seed_generator in (random.seed, np.random.seed, torch.manual_seed):  # 3.5
        seed_generator(args.seed)
    steps = math.ceil(len(ids["train"]) / args.batch_size) * args.epochs
    # A9: AdamW's own weight decay, 0.01, and betas. fused is faster and gives the same.
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, fused=True)
    scheduler = transformers.get_linear_schedule_with_warmup(optimizer, int(0.1 * steps), steps)
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**12, enabled=precision == "fp16")
    log, best = [], {"epoch": 0, "validation_loss": math.inf}
    for epoch in range(1, args.epochs + 1):
        started = time.time()
        lengths = [len(x) for x in ids["train"]]
        batches = shuffled_batches(lengths, args.batch_size, args.seed, epoch, args.group_by_length)
        train_loss = torch.zeros((), device=device)
        model.train()
        for rows in progress(batches, f"{name}, epoch {epoch}/{args.epochs}", "batch"):
            loss, _ = batch_loss("train", rows)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            train_loss += loss.detach() * len(rows)

        model.eval()
        validation_loss, correct, n = 0.0, 0, len(ids["validation"])
        with torch.inference_mode():
            for start in range(0, n, EVAL_BATCH):  # in the original order (3.3)
                rows = np.arange(start, min(start + EVAL_BATCH, n))
                loss, logits = batch_loss("validation", rows)
                validation_loss += loss.item() * len(rows) / n
                correct += (logits.argmax(-1) == labels["validation"][rows]).sum().item()
        if not math.isfinite(validation_loss):
            stop(f"the validation loss of {name} is {validation_loss} after epoch {epoch}; "
                 "training diverged. A lower --learning-rate or --precision fp32 usually helps")
        log.append({"epoch": epoch, "train_loss": train_loss.item() / len(lengths),
                    "validation_loss": validation_loss, "validation_accuracy": correct / n,
                    "seconds": round(time.time() - started, 1)})
        print("  ".join(f"{key} {value:.4g}" for key, value in log[-1].items()), flush=True)
        if validation_loss < best["validation_loss"]:
            best = log[-1]
            best_weights = {key: value.clone() for key, value in model.state_dict().items()}
        if epoch - best["epoch"] >= args.patience:
            break
    model.load_state_dict(best_weights)
    print(f"{name}: kept the weights of epoch {best['epoch']}")
    return log


def save_classifier(model, tokenizer, log, args, stamp):
    """models/<name>/: a Hugging Face folder, training_log.json and stamp.json; whole or absent."""
    folder = Path(args.artifacts) / "models" / f"{args.model}_{args.seed}"
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    write_json(partial / "training_log.json", log)
    with open(partial / "model.safetensors", "rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    write_json(partial / "stamp.json", stamp | {"weights": weights})
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    print(f"wrote {folder}")


# -------------------------------------------------------------------------------------------------
# 5. The unit of explanation (3.6, 3.7): wordpieces by position, without [CLS] and [SEP] (A3)

def token_ids(tokenizer, text):
    """The wordpiece ids of a text, without [CLS] and [SEP], as predict_proba takes them."""
    return tuple(tokenizer(text, add_special_tokens=False, return_token_type_ids=False,
                           verbose=False)["input_ids"])


def token_spans(tokenizer, text):
    """(wordpieces, [[start, end], ...]): the pieces, and the characters that each stands for."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    pieces = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    return pieces, [list(span) for span in encoded["offset_mapping"]]


def predicted_attributions(row):
    """phi (n,) of the class that the model predicts (3.6), of an explained row."""
    return np.array(row["attributions"], dtype=float).reshape(-1, len(LABELS))[:, row["predicted"]]


def polarity_attributions(row):
    """phi (n,) of the polarity score sum_c (c - 2) p_c, which needs no choice of a class. It
    is exact, for attributions are linear in the output."""
    phi = np.array(row["attributions"], dtype=float).reshape(-1, len(LABELS))
    return phi @ (np.arange(len(LABELS)) - 2)


def top_k(scores, k):
    """Positions of the k largest |scores|, largest first; equal ones, to 12 digits, in the order of
    the sentence (A5)."""
    return np.argsort(-np.round(np.abs(np.asarray(scores, dtype=float)), 12), kind="stable")[:k]


def cosine(a, b):
    """3.7 (3): cosine of two vectors over the same units; a zero vector has no direction: NaN."""
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm > 0 else math.nan


def remove(ids, positions):
    """What "remove" means (A4): the wordpieces at these positions are deleted."""
    gone = {int(p) for p in positions}
    return tuple(x for i, x in enumerate(ids) if i not in gone)


# -------------------------------------------------------------------------------------------------
# 6. Explainers (3.6)

def sentence_seed(seed, text):
    """A seed for each sentence, the same for every model and in every order of work."""
    return zlib.crc32(f"{seed} {text}".encode())


def mean_embedding(model, tokenizer, train):
    """(width,): "a summary of BERT's internal token embeddings" with "50 background samples" (3.6):
    the mean, in the model's own table, over the wordpieces of 50 training sentences (A11)."""
    background = random.Random(SEED).sample(train, min(BACKGROUND, len(train)))
    ids = [i for row in background for i in token_ids(tokenizer, row["text"])]
    return model.get_input_embeddings().weight[ids].detach().mean(0)


@contextmanager
def mask_embedding(model, tokenizer, vector):
    """Inside the block, [MASK], which SHAP puts for a token, has this embedding (width,)."""
    table, row = model.get_input_embeddings().weight, tokenizer.mask_token_id
    kept = table[row].detach().clone()
    with torch.no_grad():
        table[row] = vector
    try:
        yield
    finally:
        with torch.no_grad():
            table[row] = kept


def explain_shap(model, tokenizer, text, reference=None, max_evals=SHAP_EVALS):
    """Owen values of the five probabilities by shap.Explainer, text masker, partition (3.6).

    reference: the embedding (width,) of an absent token; None is that of [MASK]. Returns tokens and
    spans of the n wordpieces, attributions (n, 5), special_attributions (2, 5) of [CLS] and [SEP]
    (which get credit when the budget ends before the sentence is finished) and base_values (5,).
    They all add up to the probabilities.
    """
    import shap
    known = {}

    def f(strings):  # SHAP asks for about 41% of its strings a second time
        new = list(dict.fromkeys(str(s) for s in strings if str(s) not in known))
        known.update(zip(new, predict_proba(model, tokenizer, new)))
        return np.array([known[str(s)] for s in strings])

    np.random.seed(sentence_seed(SEED, text))  # SHAP breaks ties with NumPy's global generator
    explainer = shap.Explainer(f, shap.maskers.Text(tokenizer))
    with nullcontext() if reference is None else mask_embedding(model, tokenizer, reference):
        explanation = explainer([text], max_evals=max_evals, batch_size=SHAP_BATCH, silent=True)
    values = np.asarray(explanation.values[0], dtype=float)  # (n + 2, 5)
    tokens, spans = token_spans(tokenizer, text)
    return {"tokens": tokens, "spans": spans, "attributions": values[1:-1],
            "special_attributions": values[[0, -1]], "base_values": explanation.base_values[0]}


def explain_missing(path, rows, explain, stamp, args, what):
    """Explain the rows whose id is not yet in the file, append each as a line, return all in order.

    explain(row) -> dict to add to the row. With --shard only a part of the rows is explained, into
    a file of its own, and all rows explained so far are returned. The stamp lies beside the file:
    other settings than it names are refused, or with --overwrite replace the file.
    """
    shard, shards = args.shard
    if args.overwrite and shards > 1:
        stop("--overwrite replaces the files of all shards: use it without --shard")
    own_file = path if shards == 1 else path.with_suffix(f".{shard}of{shards}.jsonl")
    if not already_made(path.with_suffix(".stamp.json"), stamp, args.overwrite):
        for old in files_of(path) if shards == 1 else [own_file]:
            old.unlink(missing_ok=True)
        write_json(path.with_suffix(".stamp.json"), stamp)
    drop_incomplete_line(own_file)
    explained, own_rows = explained_rows(path), rows[shard::shards]
    todo = [row for row in own_rows if row["id"] not in explained]
    print(f"{what}: {len(own_rows) - len(todo)} sentences already explained, {len(todo)} remaining",
          flush=True)
    with open(own_file, "a", encoding="utf-8") as file:
        for row in progress(todo, what, "sentence"):
            file.write(json.dumps(plain(row | explain(row)), allow_nan=False) + "\n")
            file.flush()
    explained = explained_rows(path)
    return [explained[row["id"]] for row in rows if row["id"] in explained]


# -------------------------------------------------------------------------------------------------
# 7. Artifacts and shared flags

def cli(doc, data=False, device=False, overwrite=False, shard=False):
    """The parser, with the flags that several stages share. doc: the docstring of the script."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=HelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--artifacts", default="artifacts", metavar="DIR",
                        help="the folder through which the stages pass their files")
    if data:
        parser.add_argument("--data", default=DATASET, metavar="ID|DIR", help="a data set of the "
                            "Hub, or a folder with train, validation (or dev) and test .jsonl")
    if device:
        parser.add_argument("--device", default="auto",
                            help="cpu, cuda or cuda:1; auto is the GPU if there is one")
    if overwrite:
        parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    if shard:
        default = f"{os.environ.get('RANK', 0)}/{os.environ.get('WORLD_SIZE', 1)}"
        parser.add_argument("--shard", type=shard_of, default=default, metavar="I/N",
                            help="explain only part I of N, from 0; RANK of WORLD_SIZE if set")
    return parser


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Docstrings as they are written, and every default shown."""


def positive(text):
    """Parse a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def family(text):
    """A model's name without its seed, such as bert; it becomes part of file names."""
    if not text.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits and _ only")
    return text


def shard_of(text):
    """(shard, number of shards) of "0/2"."""
    shard, _, shards = text.partition("/")
    if not (shard.isdecimal() and shards.isdecimal() and int(shard) < int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard such as 0/2 or 1/2")
    return int(shard), int(shards)


def progress(items, what, unit):
    """A bar with rate and remaining time on a terminal, nothing elsewhere."""
    return tqdm(items, desc=what, unit=unit, disable=None, dynamic_ncols=True)


def run(main):
    """Call a stage's main(). Its time and memory go into runs.jsonl; Ctrl-C, a full disk and a
    read-only folder end it in one line."""
    started = time.time()
    try:
        args = main()
    except KeyboardInterrupt:
        stop("interrupted; what is finished is kept, and the same command goes on from there")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        stop(f"{error.strerror}: {error.filename or 'the disk'}. What is finished is kept. "
             "--artifacts DIR (ARTIFACTS=DIR for run_all.sh) writes elsewhere")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    record = {"stage": Path(sys.argv[0]).stem, "model": getattr(args, "model", None),
              "seed": getattr(args, "seed", None), "argv": sys.argv[1:],
              "seconds": round(time.time() - started, 1), "peak_memory_gb": round(peak / 1e9, 2),
              "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
              "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs{gpu}"}
    with open(Path(args.artifacts) / "runs.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    print(f"{record['stage']}: {record['seconds']:.0f} s, {record['peak_memory_gb']} GB")


def make_stamp(arguments, inputs, device):
    """What produced a file. Arguments and input digests must match for the file to be reused;
    versions, commit and device are only recorded."""
    commit = "unknown"
    if shutil.which("git"):
        git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent,
                             check=False, capture_output=True, text=True)
        commit = git.stdout.strip() or commit
    return {"arguments": arguments, "inputs": inputs, "commit": commit,
            "device": str(device),
            "versions": {p: version(p) for p in ("torch", "transformers", "shap", "lime", "numpy")}}


def already_made(path, stamp, overwrite):
    """Whether the artifact with its stamp at path is there and was made in the same way. Where it
    was made in another way: stops and names what differs. Where it is not there and cannot be
    written: OSError, which is better known before a training than after it."""
    if overwrite or not Path(path).is_file():
        folder = Path(path)
        while not folder.is_dir():
            folder = folder.parent
        tempfile.TemporaryFile(dir=folder).close()
        return False
    old = read_json(path)
    for part in ("arguments", "inputs"):
        for key in sorted(old[part].keys() | stamp[part].keys()):
            recorded, requested = old[part].get(key), plain(stamp[part].get(key))
            if recorded != requested:
                stop(f"{path} was made with another {key} ({recorded}, now {requested}); "
                     "--overwrite replaces it, --artifacts DIR keeps both")
    return True


def digest(value):
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def model_stamp(artifacts, name):
    """The stamp of models/<name>, which must be finished."""
    folder = Path(artifacts) / "models" / name
    if not (folder / "stamp.json").is_file():
        there = sorted(path.parent.name for path in folder.parent.glob("[!.]*/stamp.json"))
        stop(f"there is no model {name} in {folder.parent} (there: {', '.join(there) or 'none'}); "
             "01_train.py or 02_distill.py makes it")
    return read_json(folder / "stamp.json")


def weights_digest(artifacts, name, splits=None):
    """The digest of the weights of models/<name>; splits: the text it must have been trained on."""
    stamp = model_stamp(artifacts, name)
    if splits and stamp["inputs"]["text"] != digest(splits):
        stop(f"models/{name} was trained on another text than --data holds; pass the --data it was "
             "trained on, or train it again with --overwrite")
    return stamp["weights"]


def load_subset(artifacts):
    """The sentences that 03 drew (3.1)."""
    path = Path(artifacts) / "subset.jsonl"
    if not path.is_file():
        stop(f"{path} is missing; 03_explain.py draws it")
    return read_jsonl(path)


def files_of(path):
    """The files that hold an explanation: the whole one, and one for each shard."""
    return [*path.parent.glob(path.name), *sorted(path.parent.glob(f"{path.stem}.*of*.jsonl"))]


def explained_rows(path):
    """{id: row} of an explanation, from all its files. An incomplete last line is ignored: it was
    interrupted, or another process is writing it."""
    lines = [line for file in files_of(path) for line in file.read_text("utf-8").split("\n")[:-1]]
    return {row["id"]: row for row in map(json.loads, lines)}


def explained_models(artifacts):
    """[(model, seed), ...] that have SHAP explanations, in the order of seeds and of MODELS."""
    stamps = (Path(artifacts) / "explanations").glob("*.shap.stamp.json")
    found = [path.name.removesuffix(".shap.stamp.json").rpartition("_") for path in stamps]
    if not found:
        stop(f"there are no explanations in {artifacts}; 03_explain.py makes them")
    order = [*MODELS, *sorted({model for model, _, _ in found} - MODELS.keys())]
    return sorted([(model, int(seed)) for model, _, seed in found],
                  key=lambda pair: (pair[1], order.index(pair[0])))


def load_explanations(artifacts, model, seed, method, subset=None):
    """The rows of explanations/<model>_<seed>.<method>.jsonl, or [] where there are none. With a
    subset: in its order, and all of them. Stops unless they explain the weights in models/ now."""
    path = Path(artifacts) / "explanations" / f"{model}_{seed}.{method}.jsonl"
    if not path.with_suffix(".stamp.json").is_file():
        return []
    again = f"03_explain.py --model {model} --seed {seed} --methods {method}"
    inputs = read_json(path.with_suffix(".stamp.json"))["inputs"]
    rows = explained_rows(path)
    if inputs["weights"] != weights_digest(artifacts, f"{model}_{seed}"):
        stop(f"{path} explains other weights than models/{model}_{seed} holds; {again} --overwrite")
    if subset is None:
        return list(rows.values())
    if rows.keys() != {row["id"] for row in subset}:
        stop(f"{path} has {len(rows)} of {len(subset)} sentences; {again} goes on where it stopped")
    if any(rows[row["id"]]["text"] != row["text"] for row in subset):
        stop(f"{path} explains other sentences than subset.jsonl holds; {again} --overwrite")
    return [rows[row["id"]] for row in subset]


def read_json(path):
    """A JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path, value):
    """A JSON file, whole or absent. NaN is written as null."""
    write_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def read_jsonl(path):
    """The objects of a file, one a line. Stops and names the line if it is not a JSON object."""
    rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                rows.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                stop(f"{path}, line {number} is not a JSON object")
    return rows


def write_jsonl(path, rows):
    """A JSONL file, whole or absent."""
    write_text(path, "".join(json.dumps(plain(row), allow_nan=False) + "\n" for row in rows))


def write_text(path, text):
    """A text file that appears by one rename, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def drop_incomplete_line(path):
    """Remove the incomplete last line that an interruption may have left in a JSONL file."""
    if path.is_file():
        content = path.read_bytes()
        if not content.endswith(b"\n") and content:
            path.write_bytes(content[:content.rfind(b"\n") + 1])


def plain(value):
    """value with NumPy's types turned into Python's, and NaN into None."""
    if isinstance(value, dict):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value
