"""Faithfulness and Reasoning Drift in Compressed Transformers (2025): what the six scripts share.

Read beside the paper, top to bottom:

    1. What the paper fixes            3.1-3.7
    2. Text                            3.1, 3.3
    3. The classifier                  3.2, 3.3
    4. The optimisation protocol       3.4
    5. The unit of explanation         3.6, 3.7
    6. Explainers                      3.6
    7. Artifacts, errors and flags

A number such as A4 is an assumption of ours where the paper is silent or contradicts itself, or an
addition. The README lists them all.
"""
import argparse
import errno
import hashlib
import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
import time
import zlib
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

# Before the libraries are imported, which read these once.
os.environ["MPLBACKEND"] = "agg"  # a notebook exports one that only its kernel has
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # no server is asked to convert a .bin
os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # no notices about retries and dataset cards
os.environ.setdefault("DATASETS_VERBOSITY", "error")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # repeatable matrix products on a GPU

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from tqdm import tqdm
from transformers import (AutoConfig, AutoModelForSequenceClassification, AutoTokenizer,
                          PretrainedConfig)
from transformers.models.auto.tokenization_auto import get_tokenizer_config

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

# --- 1. What the paper fixes

LABELS = ("very negative", "negative", "neutral", "positive", "very positive")  # 3.3: 0..4
PAPER_MODELS = ("bert", "distilbert", "kd_tinybert")  # 3.2, in the order of its tables
MODELS = {  # {name: how it is printed}, in the order of our tables
    "bert": "BERT", "distilbert": "DistilBERT", "kd_tinybert": "KD-TinyBERT",
    "kd_aligned": "KD-aligned",  # follows Section 6: 02 --perturb-rate 1 --hidden-weight 3
    "tinybert_ce": "TinyBERT-CE",  # the control: TinyBERT trained on gold labels, without a teacher
    "kd_soft": "KD-soft",  # from soft logits alone, as 3.2 has it (A6): 02 --alpha 0 --beta 1
    "kd_twice": "KD-twice", "kd_perturbed": "KD-perturbed", "kd_hidden": "KD-hidden"}  # ablations
PAIRS = ("bert/distilbert", "bert/kd_tinybert", "distilbert/kd_tinybert")  # 3.7 (2)
KS = (3, 5, 10)  # 4.2
SEED = 42  # 3.5; draws the 150 sentences, the background and LIME's samples; a training's default
MAX_LENGTH = 256  # 3.3: tokens, with [CLS] and [SEP]
TRAIN_BATCH, EVAL_BATCH = 32, 64  # 3.3: of training and validation; 03 to 05: predict_logits()
PER_CLASS = 30  # 3.1: 150 sentences for 5 classes
BACKGROUND = 50  # 3.6: background samples of SHAP
SHAP_EVALS = 500  # A12: "default partition sampling"; the library's default budget
SHAP_BATCH = 20  # A19: masked sentences that SHAP asks for at once

DATASET = "SetFit/sst5"  # 3.3
SPLITS = ("train", "validation", "test")  # 8,544, 1,101 and 2,210 sentences
REVISIONS = {  # commits on the Hub, so that a later push cannot change a result
    DATASET: "e51bdcd8cd3a30da231967c1a249ba59361279a3",
    "bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "distilbert-base-uncased": "12040accade4e8a0f71eabdb258fecc2e7e948be",
    "huawei-noah/TinyBERT_General_6L_768D": "8b6152f3be8ab89055dea2d040cebb9591d97ef6",
    "huawei-noah/TinyBERT_General_4L_312D": "34707a33cd59a94ecde241ac209bf35103691b43"}


def stop(message):
    """End the program for a user's error: one line on stderr, exit status 2."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(2)


# --- 2. Text (3.1, 3.3)

def load_splits(data):
    """{"train" | "validation" | "test": [{"id": "test-17", "text": str, "label": 0..4}, ...]}. The
    text is untouched (3.3). The id is the split and the row in it, counted from 0. data: a folder
    with train, validation (or dev) and test .jsonl, or a data set of the Hub."""
    if Path(data).is_dir() or looks_like_a_path(data):
        loaded = {}
        for split in SPLITS:
            path = Path(data) / f"{split}.jsonl"
            if split == "validation" and not path.is_file():
                path = Path(data) / "dev.jsonl"
            loaded[split] = read_jsonl(path, "--data takes a folder with train, validation (or "
                                       "dev) and test .jsonl of text and label")
    else:
        with from_hub(data, "pass --data DIR, a folder with train, validation and test .jsonl"):
            import datasets  # here: it is slow to import, and a local folder does not need it
            datasets.disable_progress_bars()
            loaded = datasets.load_dataset(data, revision=REVISIONS.get(data))
    return {split: check_rows(data, split, loaded.get(split, ())) for split in SPLITS}


def looks_like_a_path(name):
    """Whether a value that names no folder was meant as one, not as a repository of the Hub."""
    return (Path(name).exists() or name.count("/") > 1 or name.startswith(tuple("/.~'\""))
            or name.endswith((".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet"))
            or "\\" in name)


def check_rows(data, split, loaded):
    """The rows of a split with their ids. Stops and names the first that cannot be used."""
    rows = []
    for i, row in enumerate(loaded):
        place, text, label = f"{data}: {split}-{i}", row.get("text"), row.get("label")
        if not isinstance(text, str) or not text.strip():
            stop(f"{place} has the text {text!r}, which is blank or no string; its columns are "
                 f"{', '.join(row)}")
        if not text.isascii() and any(0xD800 <= ord(character) <= 0xDFFF for character in text):
            stop(f"{place} has half of a surrogate pair, which is no text in any encoding")
        if type(label) is not int or label not in range(len(LABELS)):
            stop(f"{place} has the label {label!r}, which is no whole number from 0 to 4")
        if row.get("label_text") in LABELS[:label] + LABELS[label + 1:]:
            stop(f"{place} says {row['label_text']!r}, but its label {label} is {LABELS[label]!r}")
        rows.append({"id": f"{split}-{i}", "text": text, "label": label})
    missing = sorted(set(range(len(LABELS))) - {row["label"] for row in rows})
    if missing:
        stop(f"{data}: none of the {len(rows)} sentences of {split} has the label {missing[0]}; "
             "all of 0 to 4 are needed")
    return rows


# --- 3. The classifier (3.2, 3.3)

MODELS_THAT_FIT = "The kit takes encoders such as BERT, DistilBERT, RoBERTa, ELECTRA or ALBERT"


def pick_device(name):
    """torch.device for auto, cpu, cuda or cuda:1. A GPU has to use its repeatable algorithms."""
    if name == "auto":  # stages that run at once take the GPUs in turn
        gpus = torch.cuda.device_count()
        name = f"cuda:{int(os.environ.get('LOCAL_RANK') or 0) % gpus}" if gpus else "cpu"
    try:
        torch.zeros(1, device=name).add(1).cpu()
    except (RuntimeError, AssertionError) as error:
        stop(f"torch {torch.__version__} cannot use the device {name!r} "
             f"({one_line(error)}). On Kaggle choose T4 x2, not P100; or pass --device cpu")
    if name.startswith("cuda"):
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, changes nothing
    return torch.device(name)


def pick_precision(name, device):
    """fp32, fp16 or bf16; auto is fp16 on a GPU, fp32 on a CPU (A10)."""
    automatic = "fp16" if device.type == "cuda" else "fp32"
    return automatic if name == "auto" else name


def load_encoder(checkpoint, seed):
    """A pretrained encoder with a new 5-class head drawn from the seed, and its tokenizer (3.2).

    A masked-language model has no pooler, the layer between [CLS] and the head: it is then new as
    well, drawn from the same seed. Stops where the checkpoint lacks any other weight of the
    encoder, or brings a classification head of its own.
    """
    if not Path(checkpoint).is_dir() and looks_like_a_path(checkpoint):
        stop(f"--checkpoint {checkpoint} is not a folder")
    revision = REVISIONS.get(checkpoint, "main")
    with from_hub(checkpoint, "pass --checkpoint DIR with its config.json, vocab.txt and weights"):
        fields, _ = PretrainedConfig.get_config_dict(checkpoint, revision=revision)
        if not fields:
            raise OSError("config.json is missing")
        model_type = fields.pop("model_type", "bert")  # a copy of TinyBERT's repository may lack it
        for ours in ("num_labels", "is_decoder", "return_dict", "torchscript", "output_attentions",
                     "output_hidden_states", "chunk_size_feed_forward"):
            fields.pop(ours, None)  # how a model is run is not the checkpoint's to say
        fields |= {"id2label": dict(enumerate(LABELS)),
                   "label2id": {label: i for i, label in enumerate(LABELS)}}
        config = AutoConfig.for_model(model_type, **fields)
        tokenizer = load_tokenizer(checkpoint, revision, config)
        torch.manual_seed(seed)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, revision=revision, config=config, output_loading_info=True,
            ignore_mismatched_sizes=True)  # so that our message is shown, not the library's
    new, encoder = set(info["missing_keys"]), model.base_model_prefix + "."
    lacking = [key for key in new if key.startswith(encoder) and "pooler" not in key]
    if lacking:
        stop(f"{checkpoint} lacks {len(lacking)} weights of its encoder, {min(lacking)} among them")
    output = {key for key, value in model.state_dict().items()  # the layer of the five logits
              if not key.startswith(encoder) and value.shape[:1] == (len(LABELS),)}
    if output - new:  # a head of another number of classes is not among the missing keys either
        stop(f"{checkpoint} has a classification head already; training starts from a pretrained "
             "encoder, whose new head is drawn from the seed")
    text, special = "a good film", {"mask_token", "pad_token", "unk_token"}
    if not (tokenizer.is_fast and special <= tokenizer.special_tokens_map.keys()
            and encode(tokenizer, [text])[0] == tokenizer(text)["input_ids"]
            and {0, 2, 7} <= {start for start, _ in token_spans(tokenizer, text)[1]}):
        stop(f"the tokenizer of {checkpoint} has to be a fast one (tokenizer.json) with [MASK], "
             "[PAD] and [UNK] that puts [CLS] and [SEP] around a sentence and begins a token with "
             f"each word. {MODELS_THAT_FIT}")
    if len(tokenizer) > len(model.get_input_embeddings().weight):
        stop(f"{checkpoint} has a vocabulary of {len(tokenizer)} wordpieces and embeddings for "
             f"{len(model.get_input_embeddings().weight)}: they do not belong together")
    return model.float(), tokenizer


def load_tokenizer(checkpoint, revision, config):
    """The tokenizer of a checkpoint; a text's own "[MASK]" or "[SEP]" is text to it.

    An old checkpoint may not say whether it lower-cases; it does if its vocabulary has no capitals.
    """
    settings = {"revision": revision, "config": config, "split_special_tokens": True}
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, **settings)
    if "do_lower_case" not in get_tokenizer_config(checkpoint, revision=revision):
        pieces = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
        has_capitals = any(piece != piece.lower() for piece in pieces)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, do_lower_case=not has_capitals,
                                                  **settings)
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
    tokenizer("影")  # an unknown word: an empty vocabulary fails here
    return tokenizer


def check_encoder(model, tokenizer, ids):
    """Stops unless the text's wordpieces, ids (lists of int), are known, and a sentence has the
    same logits alone, padded beside a longer one, and from its embeddings, as explainers ask."""
    unknown = sum(x.count(tokenizer.unk_token_id) for x in ids) / sum(map(len, ids))
    if unknown > 0.1:
        stop(f"{unknown:.0%} of the text's wordpieces are unknown ([UNK]) to the vocabulary of "
             "--checkpoint: it is incomplete, or of another language")
    short, long = min(ids, key=len), max(ids, key=len)
    alone, padded = (pad(tokenizer, x, model.device) for x in ([short], [short, long]))
    model.eval()
    try:
        with torch.inference_mode():
            embeddings = model.get_input_embeddings()(alone["input_ids"])
            embedded = {"inputs_embeds": embeddings, "attention_mask": alone["attention_mask"]}
            logits = [model(**inputs).logits[0] for inputs in (alone, padded, embedded)]
    except (TypeError, ValueError, RuntimeError) as error:
        stop(f"{type(model).__name__} cannot be explained: {one_line(error)}. {MODELS_THAT_FIT}")
    gap = max((x - logits[0]).abs().max() for x in logits)
    if gap > 1e-3:
        stop(f"{type(model).__name__} gives a sentence other logits alone than in a batch or from "
             f"its embeddings (by {gap:.2g}). {MODELS_THAT_FIT}")


def checkpoint_digest(checkpoint):
    """The digest of a folder's weights, or the commit of a model of the Hub."""
    if not Path(checkpoint).is_dir():
        return f"{checkpoint} at {REVISIONS.get(checkpoint, 'main')}"
    files = sorted(Path(checkpoint).glob("*.safetensors")) or sorted(Path(checkpoint).glob("*.bin"))
    return digest([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])


def load_classifier(artifacts, name, device):
    """(model in eval mode, fp32; tokenizer) of models/<name>, as 01 or 02 saved it."""
    folder = Path(artifacts) / "models" / name
    if folder not in model_folders(artifacts):
        stop(f"there is no model {name} in {folder.parent}; 01_train.py or 02_distill.py makes it")
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return use_onednn(model.float().eval().requires_grad_(False).to(device)), tokenizer


def use_onednn(model):
    """The model, with its linear layers computed by oneDNN where torch takes MKL and MKL is slow:
    on processors with AVX-512 that are not Intel's. Both compute in fp32 (A10)."""
    cpu = Path("/proc/cpuinfo")
    if (model.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512"
            and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
            and cpu.is_file() and "GenuineIntel" not in cpu.read_text()):
        for layer in model.modules():
            if type(layer) is torch.nn.Linear:
                layer.__class__ = OneDNNLinear
    return model


class OneDNNLinear(torch.nn.Linear):
    """A linear layer for use_onednn(). With autocast torch takes oneDNN itself."""

    def forward(self, x):
        if torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        return torch.nn.functional.linear(x.to_mkldnn(), self.weight, self.bias).to_dense()


def autocast(device, precision):
    """Mixed precision: fp16 or bf16 matrix products over fp32 weights; fp32 changes nothing."""
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def encode(tokenizer, inputs):
    """Token ids with [CLS] and [SEP], cut at 256 (3.3), or fewer if the model reads fewer: a list
    of int for each input. inputs: all texts; or all tuples of wordpiece ids without [CLS] and
    [SEP], as remove() makes them."""
    room, pieces = min(MAX_LENGTH, tokenizer.model_max_length) - 2, list(inputs)
    if pieces and isinstance(pieces[0], str):  # texts: cut them into wordpieces
        pieces = tokenizer(pieces, add_special_tokens=False, verbose=False)["input_ids"]
    return [[tokenizer.cls_token_id, *x[:room], tokenizer.sep_token_id] for x in pieces]


def pad(tokenizer, ids, device):
    """Rows of ids as model inputs, padded to the longest of the batch (3.3: dynamic padding)."""
    return tokenizer.pad({"input_ids": ids}, padding_side="right", return_attention_mask=True,
                         return_tensors="pt").to(device)


@torch.inference_mode()
def predict_logits(model, tokenizer, inputs, precision="fp32"):
    """Logits, float64 (n, 5). inputs: texts, or tuples of wordpiece ids, from which a token can be
    removed without changing the others (encode). Equal inputs run once. Inputs of like length share
    a batch of at most 384 tokens on a CPU, 16,384 on a GPU."""
    rows = [tuple(ids) for ids in encode(tokenizer, inputs)]
    distinct = sorted(dict.fromkeys(rows), key=len, reverse=True)  # the longest of a batch is first
    token_budget = 16384 if model.device.type == "cuda" else 384
    logits, start = {}, 0
    while start < len(distinct):
        batch = distinct[start:start + max(1, token_budget // len(distinct[start]))]
        start += len(batch)
        with autocast(model.device, precision):
            out = model(**pad(tokenizer, [list(ids) for ids in batch], model.device)).logits
        logits.update(zip(batch, out.double().cpu().numpy()))
    result = np.array([logits[ids] for ids in rows]).reshape(len(rows), len(LABELS))
    if not np.isfinite(result).all():
        stop(f"the model's logits are not finite in {precision}: pass --lime-precision fp32; if "
             "it was fp32 already, delete the model and train it again with --precision fp32")
    return result


def predict_proba(model, tokenizer, inputs, precision="fp32"):
    """Class probabilities, float64 (n, 5): how 03, 04 and 05 score texts."""
    return torch.from_numpy(predict_logits(model, tokenizer, inputs, precision)).softmax(-1).numpy()


# --- 4. The optimisation protocol (3.4), identical for 01 and 02: the loss is what they pass in

def add_training_flags(parser):
    """The protocol's numbers as flags; the defaults are the paper's (3.3, 3.4)."""
    parser.add_argument("--checkpoint", required=True, metavar="ID|DIR",
                        help="pretrained encoder: a model of the Hub, or a folder")
    parser.add_argument("--epochs", type=positive_int, default=10, help="at most this many (A7)")
    parser.add_argument("--patience", type=positive_int, default=2,
                        help="epochs without a lower validation loss before training stops")
    parser.add_argument("--learning-rate", type=number_from(1e-9, 1), default=2e-5,
                        help="after the warm-up")
    parser.add_argument("--batch-size", type=positive_int, default=TRAIN_BATCH,
                        help="sentences a step")
    parser.add_argument("--precision", choices=("auto", "fp32", "fp16", "bf16"), default="auto",
                        help="of matrix products; auto is fp16 on a GPU, fp32 on a CPU (A10)")
    parser.add_argument("--group-by-length", action="store_true",
                        help="batches of sentences of like length: faster, and not the paper's way")


def pin_training_settings(args, device):
    """Writes settings/<model>.json before the first model of this name is made, so that it is
    trained alike at every seed. Stops where one is there that was trained with other flags."""
    may_differ = ("artifacts", "data", "device", "model", "seed", "checkpoint")
    settings = {flag: value for flag, value in vars(args).items() if flag not in may_differ}
    settings |= {"precision": pick_precision(args.precision, device),
                 "checkpoint_digest": checkpoint_digest(args.checkpoint)}
    teacher_of = {folder.name: read_json(folder / "config.json").get("teacher", "")
                  for folder in model_folders(args.artifacts)}
    names = [name for name in teacher_of if name.rpartition("_")[0] == args.model]
    students = [name for name in teacher_of if teacher_of[name] in names]
    pin_settings(args.artifacts, args.model, settings,
                 [f"models/{name}" for name in names + students], checkpoint=args.checkpoint)


def model_is_there(args):
    """Whether models/<model>_<seed>/ is there, so that nothing is to be done. Stops where it is a
    teacher that is gone while its students are there, whose config.json names it (02)."""
    models, name = Path(args.artifacts) / "models", f"{args.model}_{args.seed}"
    if models / name in model_folders(args.artifacts):
        print(f"{models / name} is there already")
        return True
    students = [str(folder) for folder in model_folders(args.artifacts)
                if read_json(folder / "config.json").get("teacher") == name]
    if students:
        stop(f"the students of an earlier {name} are there, and {name} would be another teacher: "
             f"delete {', '.join(students)} to distil them again")
    return False


def shuffled_batches(lengths, size, seed, epoch, group_by_length):
    """Index lists of one epoch's batches, by seed and epoch. lengths: tokens of each sentence."""
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
    if group_by_length:  # within each chunk of 50 batches, sort by length; then shuffle the batches
        chunk = np.arange(len(order)) // (50 * size)
        order = order[np.lexsort((np.array(lengths)[order], chunk))]  # by chunk, then by length
    batches = np.split(order, range(size, len(order), size))
    if group_by_length:
        np.random.default_rng([seed, epoch, 1]).shuffle(batches)
    return batches


def fit(model, tokenizer, splits, loss_fn, args, extra_loss=None):
    """Section 3.4: AdamW, linear warm-up of 10%, clipping at 1.0, early stopping, best weights.

    loss_fn(logits (b, 5), labels (b,), split, indices (b,)) -> mean loss of a batch; indices: the
    numbers of its sentences in the split. Early stopping uses the same loss on the validation split
    (A8). extra_loss(model, hidden, ids, indices, epoch) -> a further term of the training loss;
    hidden: the model's hidden states of the batch, ids: its token ids. Returns the log, one dict
    per epoch; the model holds the weights of the best epoch and is in eval mode."""
    device, name = model.device, f"{args.model}_{args.seed}"
    precision = pick_precision(args.precision, device)
    use_onednn(model)
    used = ("train", "validation")
    ids = {split: encode(tokenizer, [row["text"] for row in splits[split]]) for split in used}
    labels = {split: torch.tensor([row["label"] for row in splits[split]], device=device)
              for split in used}
    check_encoder(model, tokenizer, ids["train"])

    def batch_loss(split, indices, epoch):
        batch = [ids[split][i] for i in indices]
        has_extra = extra_loss is not None and split == "train"
        with autocast(device, precision):
            out = model(**pad(tokenizer, batch, device), output_hidden_states=has_extra)
        loss = loss_fn(out.logits.float(), labels[split][indices], split, indices)
        if has_extra:
            loss = loss + extra_loss(model, out.hidden_states, batch, indices, epoch)
        return loss, out.logits

    transformers.set_seed(args.seed)  # 3.5: of Python, NumPy and PyTorch
    lengths = [len(x) for x in ids["train"]]
    steps = math.ceil(len(lengths) / args.batch_size) * args.epochs
    # A9: AdamW's own weight decay, 0.01, and betas. fused is faster and gives the same.
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, fused=True)
    scheduler = transformers.get_linear_schedule_with_warmup(optimizer, int(0.1 * steps), steps)
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**12, enabled=precision == "fp16")
    log, best = [], {"epoch": 0, "validation_loss": math.inf}
    for epoch in range(1, args.epochs + 1):
        started = time.monotonic()
        batches = shuffled_batches(lengths, args.batch_size, args.seed, epoch, args.group_by_length)
        losses = []
        model.train()
        for indices in progress(batches, f"{name}, epoch {epoch}/{args.epochs}", "batch"):
            loss, _ = batch_loss("train", indices, epoch)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)  # in fp16 a step with an infinite loss or gradient is skipped
            scaler.update()
            scheduler.step()
            losses.append(loss.detach())

        model.eval()
        validation_loss, correct, n = 0.0, 0, len(ids["validation"])
        with torch.inference_mode():  # in the original order (3.3)
            for indices in np.split(np.arange(n), range(EVAL_BATCH, n, EVAL_BATCH)):
                loss, logits = batch_loss("validation", indices, epoch)
                validation_loss += loss.item() * len(indices) / n
                correct += (logits.argmax(-1) == labels["validation"][indices]).sum().item()
        if not math.isfinite(validation_loss):
            stop(f"the validation loss of {name} is {validation_loss} after epoch {epoch}; "
                 "training diverged. A lower --learning-rate or --precision fp32 usually helps")
        losses = torch.stack(losses).cpu().numpy()
        finite = np.isfinite(losses)
        log.append({"epoch": epoch, "train_loss": losses[finite].mean(),
                    "batches_without_finite_loss": int((~finite).sum()),
                    "validation_loss": validation_loss, "validation_accuracy": correct / n,
                    "seconds": time.monotonic() - started})
        print("  ".join(f"{key} {value:.4g}" for key, value in log[-1].items()), flush=True)
        if validation_loss < best["validation_loss"]:
            best = log[-1]
            best_weights = {key: value.clone() for key, value in model.state_dict().items()}
        if epoch - best["epoch"] >= args.patience:
            break
    model.load_state_dict(best_weights)
    print(f"{name}: kept the weights of epoch {best['epoch']}")
    return log


def save_classifier(model, tokenizer, log, args):
    """models/<model>_<seed>/: a Hugging Face folder and training_log.json; whole or absent. The
    explanations and probes of an earlier model of this name are deleted, and what was measured."""
    artifacts, name = Path(args.artifacts), f"{args.model}_{args.seed}"
    partial, folder = artifacts / "models" / f".{name}.partial", artifacts / "models" / name
    if folder in model_folders(artifacts):
        print(f"{name} was finished elsewhere meanwhile, and is kept as it is there")
        return
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    write_json(partial / "training_log.json", log)
    pin_training_settings(args, model.device)  # another seed may have been saved in the meantime
    for stale in (*artifacts.glob(f"explanations/{name}.*"), *artifacts.glob(f"probes/{name}.*")):
        stale.unlink()
    delete_measures_of(artifacts, name)
    shutil.rmtree(folder, ignore_errors=True)  # what is left of an incomplete one
    partial.rename(folder)
    print(f"wrote {folder}")


# --- 5. The unit of explanation (3.6, 3.7): wordpieces by position, without [CLS] and [SEP] (A3)

def cut_to_model_length(tokenizer, text):
    """The beginning of a text that the model reads: as much as encode() keeps (256 tokens)."""
    read, (_, spans) = encode(tokenizer, [text])[0][1:-1], token_spans(tokenizer, text)
    n = len(read)
    while n < len(spans) and token_ids(tokenizer, text[:spans[n - 1][1]]) != tuple(read[:n]):
        n -= 1  # a word that is cut in two can have other wordpieces
    return text[:spans[n - 1][1]] if n < len(spans) else text


def token_ids(tokenizer, text):
    """The wordpiece ids of a text, without [CLS] and [SEP], as predict_proba takes them."""
    return tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def token_spans(tokenizer, text):
    """(wordpieces, [[start, end], ...]): the pieces, and the characters that each stands for,
    without the space before a word, which is part of a byte-level piece."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return encoded.tokens(), [[end - len(text[start:end].lstrip()), end]
                              for start, end in encoded["offset_mapping"]]


def predicted_attributions(row):
    """phi (n,) of the class that the model predicts (3.6), of an explained row."""
    return np.array(row["attributions"], dtype=float).reshape(-1, len(LABELS))[:, row["predicted"]]


def polarity_attributions(row):
    """phi (n,) of the polarity score sum_c (c - 2) p_c, which needs no choice of a class: the same
    sum of the attributions, for they are linear in the output."""
    phi = np.array(row["attributions"], dtype=float).reshape(-1, len(LABELS))
    return phi @ (np.arange(len(LABELS)) - 2)


def top_k(scores, k):
    """Positions of the k largest |scores|, largest first, ties in the order of the sentence (A5).
    Scores that differ after 12 digits are ties: they differ by the order of a summation alone."""
    return np.argsort(-np.round(np.abs(np.asarray(scores, dtype=float)), 12), kind="stable")[:k]


def cosine(a, b):
    """3.7 (3): cosine of two vectors over the same units; a zero vector has no direction: NaN."""
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm > 0 else math.nan


def remove(ids, positions):
    """What "remove" means (A4): the wordpieces at these positions are deleted."""
    return tuple(x for i, x in enumerate(ids) if i not in positions)


# --- 6. Explainers (3.6)

def sentence_seed(seed, text):
    """A seed for each sentence, the same for every model and in every order of work."""
    return zlib.crc32(f"{seed} {text}".encode())


def mean_embedding(model, tokenizer, train):
    """(width,): "a summary of BERT's internal token embeddings" with "50 background samples" (3.6):
    the mean, in the model's own table, over the wordpieces of 50 training sentences (A11), which
    are random.Random(42).sample of the split."""
    background = random.Random(SEED).sample(train, min(BACKGROUND, len(train)))
    ids = [i for row in background for i in token_ids(tokenizer, row["text"])]
    return model.get_input_embeddings().weight[ids].detach().mean(0)


@contextmanager
def mask_embedding(model, tokenizer, reference):
    """SHAP puts [MASK] for an absent token; inside the block [MASK] has the embedding `reference`
    (width,) in the model's own table. None: it keeps its own."""
    table, mask_id = model.get_input_embeddings().weight.detach(), tokenizer.mask_token_id
    of_mask = table[mask_id].clone()
    table[mask_id] = of_mask if reference is None else reference  # detach shares the memory
    try:
        yield
    finally:
        table[mask_id] = of_mask


def explain_shap(model, tokenizer, text, reference=None, max_evals=SHAP_EVALS):
    """SHAP values of the five probabilities (3.6): shap.Explainer with its text masker and its
    partition algorithm. Its values are Owen values, Shapley values along a tree of groups (A12).

    SHAP puts [MASK] by position in the wordpiece ids, so that attributions and tokens are aligned
    (3.3, A31). reference: the embedding (width,) of an absent token; None is that of [MASK].
    Returns tokens and spans of the n wordpieces, attributions (n, 5), special_attributions (2, 5)
    of [CLS] and [SEP] (they share the value of a group that was not split, A12) and base_values
    (5,), the probabilities where all are absent. The sum of these three is the probabilities of the
    text, to 1e-6 on a CPU and 1e-5 on a GPU; if not: ArithmeticError.
    """
    import shap
    known = {}  # {wordpiece ids: probabilities}, for SHAP asks about many inputs twice

    def f(coalitions):  # rows of ids with [CLS] and [SEP], in which absent tokens are [MASK]
        inputs = [tuple(int(i) for i in coalition[1:-1]) for coalition in coalitions]
        new = [x for x in dict.fromkeys(inputs) if x not in known]
        known.update(zip(new, predict_proba(model, tokenizer, new)))
        return np.array([known[x] for x in inputs])

    tokens, spans = token_spans(tokenizer, text)
    p = predict_proba(model, tokenizer, [text])[0]
    if not tokens:  # a text without a wordpiece: nothing to remove
        values, base_values = np.zeros((2, len(LABELS))), p
    else:
        np.random.seed(sentence_seed(SEED, text))  # SHAP breaks ties with NumPy's global generator
        explainer = shap.Explainer(f, shap.maskers.Text(tokenizer, output_type="token_ids"))
        with mask_embedding(model, tokenizer, reference):
            explanation = explainer([text], max_evals=max_evals, batch_size=SHAP_BATCH, silent=True)
        values = np.asarray(explanation.values[0], dtype=float)  # (n + 2, 5)
        base_values = explanation.base_values[0]
    gap = np.abs(base_values + values.sum(0) - p).max()
    if gap > (1e-6 if model.device.type == "cpu" else 1e-5):
        raise ArithmeticError(f"the SHAP values of {text!r} miss its probabilities by {gap:.1e}")
    return {"tokens": tokens, "spans": spans, "attributions": values[1:-1],
            "special_attributions": values[[0, -1]], "base_values": base_values}


# --- 7. Artifacts: one folder is one run

MADE = ("subset.jsonl", "models/*", "explanations/*", "probes/*")  # each from one text


def device_and_text(args):
    """(device, splits) of a stage, whose text must be that of the run. As long as nothing is made,
    settings/environment.json is written too: what the run began on, for the report."""
    device, splits = pick_device(args.device), load_splits(args.data)
    artifacts = Path(args.artifacts)
    if not any_made(artifacts, MADE):
        gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
        libraries = ("torch", "transformers", "shap", "lime", "numpy")
        write_json(artifacts / "settings/environment.json", {
            "commit": kit_commit(), "device": str(device), "threads": torch.get_num_threads(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs{gpu}",
            "versions": {name: version(name) for name in libraries}})
    pin_settings(artifacts, "text", {"digest": digest(splits)}, MADE)
    return device, splits


def any_made(artifacts, patterns):
    """Whether a path below artifacts matches one of these patterns."""
    return any(found for pattern in patterns for found in Path(artifacts).glob(pattern))


def kit_commit():
    """The commit of this kit; "unknown" where it, or git, is not there."""
    kit = Path(__file__).parent
    if not shutil.which("git"):
        return "unknown"
    git = subprocess.run(["git", f"--git-dir={kit / '.git'}", f"--work-tree={kit}", "describe",
                          "--always", "--dirty"], check=False, capture_output=True, text=True)
    return git.stdout.strip() or "unknown"


def pin_settings(artifacts, name, settings, files, **notes):
    """settings/<name>.json says with which settings a part of this run is made. The first call
    writes it. A later call with the same settings goes on; one with others stops, as long as
    anything is there that was made with the first ones. What was made without settings stops too.

    settings: what decides the result, a dict that JSON can hold. files: what is made with them, as
    patterns of paths below artifacts. notes: written beside the settings, never compared."""
    artifacts, settings = Path(artifacts), jsonable(settings)
    path, pinned = artifacts / "settings" / f"{name}.json", {}
    if path.is_file():
        pinned = {key: value for key, value in read_json(path).items() if key != "notes"}
    if not any_made(artifacts, files):
        if pinned and pinned != settings:  # what was measured is of the earlier settings
            shutil.rmtree(artifacts / "measures", ignore_errors=True)
        write_json(path, settings | {"notes": notes})
        return
    remedy = ("--artifacts DIR (ARTIFACTS=DIR for run_all.sh) makes another run; to make this one "
              f"again, delete in {artifacts}: {' '.join(files)}")
    if not pinned:
        stop(f"{path} is missing, so nobody knows how the {name} of this run was made. {remedy}")
    for key in sorted(pinned.keys() | settings.keys()):
        if pinned.get(key) != settings.get(key):
            stop(f"the {name} of this run has {key} {pinned.get(key)}, not {settings.get(key)}. "
                 f"{remedy}")


def delete_measures_of(artifacts, name, method="shap"):
    """Adding deletes nothing; making something again deletes all measures. This is called before
    the explanation <name>.<method> is made, and when the model <name> is saved. If it was measured
    before, measures/ goes: other models' measures compare with it."""
    folder = Path(artifacts) / "measures"
    rows = [row for path in folder.glob("models.*.jsonl") for row in read_jsonl(path)]
    measured = any(f"{name}.{method}" in row["explanations"] for row in rows)
    if measured or (method == "shap" and any(folder.glob(f"*.{name}.jsonl"))):
        print(f"{folder} is deleted: it rests on an earlier {name}.{method}")
        shutil.rmtree(folder, ignore_errors=True)


def model_folders(artifacts):
    """The complete folders models/<model>_<seed>/, sorted."""
    folders = sorted(path.parent for path in Path(artifacts).glob("models/[!.]*/config.json"))
    return [folder for folder in folders if folder.name.rpartition("_")[2].isdigit()
            and (folder / "model.safetensors").is_file()]


def load_subset(artifacts):
    """The sentences that 03 drew (3.1)."""
    return read_jsonl(Path(artifacts) / "subset.jsonl", "03_explain.py draws it")


def explain_all(path, rows, explain):
    """{id: explained row}: the rows that are not yet in the file are explained and appended to it.
    explain(row) -> dict to add to the row. A line that an interruption cut off is made again. Stops
    at the end if explain raised ArithmeticError for some, which are then not in the file."""
    done, failed = explained_rows(path), []
    todo = [row for row in rows if row["id"] not in done]
    write_jsonl(path, done.values())
    print(f"{path.stem}: {len(rows) - len(todo)} sentences already explained, {len(todo)} "
          "remaining", flush=True)
    with open(path, "a", encoding="utf-8") as file:
        for row in progress(todo, path.stem, "sentence"):
            try:
                done[row["id"]] = jsonable(row | explain(row))
            except ArithmeticError as error:
                failed.append(f"{row['id']} ({error})")
                continue
            file.write(json.dumps(done[row["id"]], allow_nan=False) + "\n")
            file.flush()
    if failed:
        stop(f"{path.stem}: {len(failed)} sentences could not be explained, the others are. The "
             f"same command with --device cpu usually explains them too. The first: {failed[0]}")
    return done


def explained_rows(path):
    """{id: row} of the complete lines of an explanation, {} if there is none."""
    return {row["id"]: row for row in read_jsonl(path, torn=True)} if path.is_file() else {}


def load_explanations(artifacts, model, seed, method, subset):
    """The explained rows in the order of the subset; [] where the method was not run, and where it
    is not finished, which is said."""
    path = Path(artifacts) / "explanations" / f"{model}_{seed}.{method}.jsonl"
    if not path.is_file():
        return []
    rows = explained_rows(path)
    wanted = read_json(Path(artifacts) / "settings" / f"{method}.json")["sentences"]
    if len(rows) < wanted:
        print(f"{path.stem} is left out, it has {len(rows)} of {wanted} sentences; 03_explain.py "
              f"--model {model} --seed {seed} --methods {method} goes on where it stopped")
        return []
    return [rows[row["id"]] for row in subset if row["id"] in rows]


def explained_models(args, subset):
    """[(model, seed), ...] of all models, or of --model and --seed, that SHAP explained in full."""
    wanted, found = f"{args.model}_{args.seed}" if args.model else "any model", []
    for name in [folder.name for folder in model_folders(args.artifacts)]:
        model, _, seed = name.rpartition("_")
        if (wanted in ("any model", name)
                and load_explanations(args.artifacts, model, seed, "shap", subset)):
            found.append((model, int(seed)))
    if not found:
        stop(f"{args.artifacts} has no SHAP explanations of {wanted}; 03_explain.py makes them")
    return in_order(found)


def in_order(models):
    """[(model, seed), ...] by seed, then in the order of MODELS, others last."""
    order = [*MODELS, *sorted({model for model, _ in models} - MODELS.keys())]
    return sorted(models, key=lambda pair: (pair[1], order.index(pair[0])))


def read_json(path):
    """A JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path, value):
    """A JSON file, whole or absent. NaN is written as null."""
    write_text(path, json.dumps(jsonable(value), indent=1, allow_nan=False) + "\n")


def read_jsonl(path, hint="an earlier stage writes it", torn=False):
    """The objects of a file, one a line. Stops and names the line that is not a JSON object. torn:
    leaves out a last line that does not end, as an interruption leaves it."""
    if not Path(path).is_file():
        stop(f"{path} is missing; {hint}")
    lines, rows = Path(path).read_bytes().split(b"\n"), []
    for number, line in enumerate(lines[:-1] if torn else lines, 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            stop(f"{path}, line {number} is not JSON in UTF-8 ({error})")
        if rows and not isinstance(rows[-1], dict):
            stop(f'{path}, line {number} is no JSON object such as {{"text": "...", "label": 0}}')
    return rows


def write_jsonl(path, rows):
    """A JSONL file, whole or absent."""
    write_text(path, "".join(json.dumps(jsonable(row), allow_nan=False) + "\n" for row in rows))


def write_text(path, text):
    """A text file that appears by one rename, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def jsonable(value):
    """value with NumPy's types turned into Python's, and NaN and infinity into None."""
    if isinstance(value, dict):
        return {str(key): jsonable(v) for key, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [jsonable(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def digest(value):
    """The first 16 digits of the SHA-256 of anything that JSON can hold."""
    text = json.dumps(jsonable(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- Flags, progress and errors

def cli(doc, *flags):
    """The parser of a script with this docstring, with those flags that several scripts share."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that is not UTF-8 shows ? for “
        if hasattr(stream, "reconfigure"):  # a notebook's stream, or a closed one, has not
            stream.reconfigure(errors="replace")
    parser = argparse.ArgumentParser(description=doc, formatter_class=HelpFormatter,
                                     allow_abbrev=False)
    parser.error = lambda message: stop(f"{message}; --help shows the flags")  # in one line
    shared = {
        "--artifacts": {"default": "artifacts", "metavar": "DIR", "help": "the files of a run"},
        "--data": {"default": DATASET, "metavar": "ID|DIR", "help": "a data set of the Hub, or a "
                   "folder with train, validation (or dev) and test .jsonl of text and label"},
        "--device": {"default": "auto", "help": "cpu, cuda or cuda:1; auto is a GPU if possible"},
        "--seed": {"type": positive_int, "default": SEED, "help": "the seed of a model's training"},
        "--model": {"type": model_name, "help": "only this model of --seed, which 03 explained; "
                    "without it all models of all seeds"}}
    for flag in ("--artifacts", *flags):
        parser.add_argument(flag, **shared[flag])
    return parser


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Docstrings as they are written, and every default shown."""


def number_from(least, largest, kind=float):
    """A parser of numbers from least to largest."""
    def number(text):
        if not least <= kind(text) <= largest:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to {largest}")
        return kind(text)
    return number


positive_int = number_from(1, 2**32 - 1, int)  # NumPy and PyTorch take such a seed


def model_name(text):
    """A model's name without its seed, such as bert; it becomes part of file names."""
    if not text.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits and _ only")
    return text


def progress(items, what, unit):
    """A bar with rate and remaining time on a terminal, nothing elsewhere."""
    return tqdm(items, desc=what, unit=unit, disable=None, dynamic_ncols=True,
                position=int(os.environ.get("LOCAL_RANK") or 0))


def run(main, args):
    """Call a stage's main(args) and print its time. Ctrl-C, an output that is read no further (by
    head) and what the system refuses (a missing file, a full disk) end it in one line."""
    started = time.monotonic()
    try:
        main(args)
        print(f"{Path(sys.argv[0]).stem}: {time.monotonic() - started:.0f} s", flush=True)
    except KeyboardInterrupt:
        stop("interrupted; what is finished is kept, and the same command goes on from there")
    except BrokenPipeError:
        sys.stdout = None  # else Python complains of it once more at its end
        stop("nobody reads the output any longer; what is finished is kept")
    except (OSError, SafetensorError) as error:
        of_disk = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
        hint = ""
        if getattr(error, "errno", None) in of_disk or "I/O error" in str(error):
            hint = (". If the disk is full, or the folder cannot be written, --artifacts DIR "
                    "(ARTIFACTS=DIR for run_all.sh) writes elsewhere")
        stop(f"{one_line(error)}. What is finished is kept{hint}")


@contextmanager
def from_hub(name, offline_hint):
    """Loading name, a folder or a repository of the Hub; where that fails: one line, exit status 2.
    offline_hint: what the user can do where there is no network."""
    try:
        yield
    except ImportError as error:
        stop(f"the installation is broken: {one_line(error.__cause__ or error)}")
    except Exception as error:  # the libraries raise at least four unrelated types for one cause
        if Path(name).is_dir():
            stop(f"the folder {name} could not be loaded: {one_line(error)}. It needs config.json, "
                 "weights and a vocabulary; git lfs pull fetches what is a Git-LFS pointer")
        stop(f"{name} could not be loaded from the Hub ({one_line(error)}). On Kaggle turn the "
             f"Internet on; without a network {offline_hint}; HF_HUB_OFFLINE=1 takes what an "
             "earlier run downloaded")


def one_line(error):
    """The type and the message of an exception, in one line of at most 200 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
