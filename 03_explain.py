"""Sections 3.1 and 3.6: explain one model's predictions on the balanced subset with SHAP and LIME.

Reads   models/<name>/ ; the text (--data: the test split for the subset, the training split for SHAP's background)
Writes  subset.jsonl (once: all models explain the same sentences);
        explanations/<name>.shap.jsonl, explanations/<name>.lime.jsonl : one line a sentence; *.stamp.json beside them;
        for the controls <name>.shap_mask.jsonl, <name>.shap_full.jsonl, <name>.lime_seeds.jsonl

    python 03_explain.py --name bert
    python 03_explain.py --name bert --methods shap_mask shap_full lime_seeds --of-each 6      (controls, 30 sentences)

On a T4 about 2 minutes a model for SHAP and 10 for LIME (estimates, not measured). Run again after an interruption, it
goes on with the next sentence, or, in SHAP, the next ten, which share batches.
"""
import argparse
from pathlib import Path

import numpy as np

from common import (LABELS, PER_CLASS, SHAP_TOGETHER, add_shap_flags, balanced_subset, check_rows, cli, digest, explain_lime, explain_rows,
                    explain_shap, load_classifier, load_splits, load_subset, make_stamp, model_folder, model_name, pick_device,
                    positive, predict_proba, read_jsonl, run, shap_reference, stop, weights_of, write_jsonl)

METHODS = {  # what it is, and where its arguments differ
    "shap": ("3.6", {}), "lime": ("3.6", {}),
    "shap_mask": ("SHAP with shap's own reference, [MASK]", {"reference": "mask"}),
    "shap_full": ("SHAP with evaluations enough to finish every sentence", {"max_evals": 10**6}),
    "lime_seeds": ("LIME with four more seeds", {})}


def draw_subset(args, test):
    """3.1: 30 sentences a class, kept in subset.jsonl; the first model draws them, the others must mean the same ones."""
    if args.subset:
        drawn = check_rows(read_jsonl(args.subset), args.subset)
        drawn = [{"id": str(r.get("id", f"row-{i}")), "text": r["text"], "label": r["label"]} for i, r in enumerate(drawn)]
        if len({row["id"] for row in drawn}) < len(drawn):
            stop(f"{args.subset}: two sentences have the same id")
    else:
        drawn = balanced_subset(test, args.per_class, args.seed)
    path = Path(args.artifacts) / "subset.jsonl"
    if not path.is_file():
        write_jsonl(path, drawn)
    if load_subset(args.artifacts) != drawn:
        stop(f"{path} holds other sentences than these arguments draw, and other explanations may rest on it; "
             "--artifacts DIR keeps both, removing subset.jsonl and explanations/ starts anew")
    return drawn


def show(method, row, units, scores):
    """One explained sentence to look at."""
    best = ", ".join(f"{units[i]} {scores[i]:+.3f}" for i in np.argsort(-np.abs(scores), kind="stable")[:5])
    print(f"{method} of {row['id']} (gold {LABELS[row['label']]}, predicted {LABELS[row['predicted']]} "
          f"{max(row['probabilities']):.3f}): {row['text']}\n    {best}", flush=True)


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True, overwrite=True)
    parser.add_argument("--name", type=model_name, required=True, help="a model that 01 or 02 made")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["shap", "lime"],
                        help="the paper's two, or controls: " + "; ".join(f"{m}, {what}" for m, (what, _) in METHODS.items()))
    parser.add_argument("--subset", metavar="FILE", help="explain these sentences: .jsonl of text, label and, if you like, id")
    parser.add_argument("--per-class", type=positive, default=PER_CLASS, help="test sentences drawn of each class")
    parser.add_argument("--of-each", type=positive, metavar="N", help="of the sentences drawn, explain the first N of each class")
    add_shap_flags(parser)
    parser.add_argument("--lime-samples", type=positive, default=5000, help="LIME: perturbed sentences a sentence")
    parser.add_argument("--lime-features", type=positive, default=10, help="LIME: words kept")
    parser.add_argument("--lime-precision", choices=("fp32", "fp16", "bf16"), default="fp32", help="LIME: of matrix products")
    return parser.parse_args(argv)


def main():
    args = parse_args()
    device = pick_device(args.device, args.deterministic)
    model_folder(args.artifacts, args.name)  # before the text, which may have to be fetched
    splits = load_splits(args.data)
    weights = weights_of(args.artifacts, args.name, splits)
    rows = draw_subset(args, splits["test"])
    model, tokenizer = load_classifier(args.artifacts, args.name, device)
    for row, p in zip(rows, predict_proba(model, tokenizer, [row["text"] for row in rows])):
        row |= {"probabilities": p.tolist(), "predicted": int(p.argmax())}
    explained = {"weights": weights, "subset": digest([row["text"] for row in rows])}
    if args.of_each:
        rows = sorted((r for c in range(len(LABELS)) for r in [r for r in rows if r["label"] == c][:args.of_each]), key=rows.index)
    of_neither, of_shap, of_lime = (("methods", "subset", "per_class", "of_each"), ("max_evals", "reference", "background"),
                                    ("lime_samples", "lime_features", "lime_precision"))

    for method in args.methods:
        settings = argparse.Namespace(**vars(args) | METHODS[method][1])
        path = Path(args.artifacts) / "explanations" / f"{args.name}.{method}.jsonl"

        def shap(rows, settings=settings):  # all five classes' attributions are kept
            return explain_shap(model, tokenizer, [row["text"] for row in rows], settings.max_evals, args.seed)

        def lime(row, seed=args.seed):  # the model's own class (A13: LIME's default would be class 1 for every sentence)
            return explain_lime(model, tokenizer, row["text"], row["predicted"], args.lime_samples, args.lime_features, seed,
                                args.lime_precision)

        if method.startswith("shap"):
            with shap_reference(model, tokenizer, splits["train"], settings) as background:
                stamp = make_stamp(settings, device, of_neither + of_lime, **explained, background=background)
                done = explain_rows(path, rows, shap, stamp, args.overwrite, f"{args.name}, {method}", SHAP_TOGETHER)
            show("SHAP", done[0], done[0]["tokens"], np.array(done[0]["attributions"])[:, done[0]["predicted"]])
        else:
            stamp = make_stamp(settings, device, of_neither + of_shap, **explained)
            if method == "lime_seeds":
                done = explain_rows(path, rows, lambda rows: [{"runs": [lime(row, args.seed + i) for i in (1, 2, 3, 4)]} for row in rows],
                                    stamp, args.overwrite, f"{args.name}, {method}")
            else:
                done = explain_rows(path, rows, lambda rows: [lime(row) for row in rows], stamp, args.overwrite, f"{args.name}, {method}")
                show("LIME", done[0], done[0]["words"], done[0]["attributions"])
    return args


if __name__ == "__main__":
    run(main)
