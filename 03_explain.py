"""Sections 3.1 and 3.6: explain one model's predictions on the balanced subset with SHAP and LIME.

Reads   models/<name>/ ; the text (--data: the test split for the subset, the training split for SHAP's background)
Writes  subset.jsonl (once: all models explain the same sentences);
        explanations/<name>.shap.jsonl, explanations/<name>.lime.jsonl : one line a sentence; *.stamp.json beside them

    python 03_explain.py --name bert
    python 03_explain.py --name bert --reference mask --artifacts artifacts-mask      (shap's own reference)

On a T4 about 3 minutes a model for SHAP and 10 for LIME (estimates, not measured). Run again after an interruption, it
goes on with the next sentence.
"""
from pathlib import Path

import numpy as np

from common import (LABELS, PER_CLASS, add_shap_flags, append_jsonl, balanced_subset, check_rows, cli, digest, explain_lime,
                    explain_rows, explain_shap, load_classifier, load_splits, make_stamp, model_folder, model_name,
                    pick_device, positive, predict_proba, read_json, read_jsonl, run, shap_reference, stop)


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
    if path.is_file() and read_jsonl(path) != drawn:
        stop(f"{path} holds other sentences than these arguments draw, and other explanations may rest on it; "
             "--artifacts DIR keeps both, removing subset.jsonl and explanations/ starts anew")
    if not path.is_file():
        partial = path.with_name("subset.partial")
        partial.unlink(missing_ok=True)
        for row in drawn:
            append_jsonl(partial, row)
        partial.rename(path)
    return drawn


def show(method, row, units, scores):
    """One explained sentence to look at."""
    best = ", ".join(f"{units[i]} {scores[i]:+.3f}" for i in np.argsort(-np.abs(scores), kind="stable")[:5])
    print(f"{method} of {row['id']} (gold {LABELS[row['label']]}, predicted {LABELS[row['predicted']]} "
          f"{max(row['probabilities']):.3f}): {row['text']}\n    {best}", flush=True)


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True, overwrite=True)
    parser.add_argument("--name", type=model_name, required=True, help="a model that 01 or 02 made")
    parser.add_argument("--methods", nargs="+", choices=("shap", "lime"), default=["shap", "lime"])
    parser.add_argument("--subset", metavar="FILE", help="explain these sentences: .jsonl of text, label and, if you like, id")
    parser.add_argument("--per-class", type=positive, default=PER_CLASS, help="test sentences drawn of each class")
    add_shap_flags(parser)
    parser.add_argument("--lime-samples", type=positive, default=5000, help="LIME: perturbed sentences a sentence")
    parser.add_argument("--lime-features", type=positive, default=10, help="LIME: words kept")
    parser.add_argument("--lime-precision", choices=("fp32", "fp16", "bf16"), default="fp32", help="LIME: of matrix products")
    return parser.parse_args(argv)


def main():
    args = parse_args()
    device = pick_device(args.device)
    weights = read_json(model_folder(args.artifacts, args.name) / "stamp.json")["weights"]
    splits = load_splits(args.data)
    rows = draw_subset(args, splits["test"])
    model, tokenizer = load_classifier(args.artifacts, args.name, device)
    for row, p in zip(rows, predict_proba(model, tokenizer, [row["text"] for row in rows])):
        row |= {"probabilities": p.tolist(), "predicted": int(p.argmax())}
    explained = {"weights": weights, "subset": digest([row["text"] for row in rows])}
    folder = Path(args.artifacts) / "explanations"
    of_neither, of_shap, of_lime = (("methods", "subset", "per_class"), ("max_evals", "reference", "background"),
                                    ("lime_samples", "lime_features", "lime_precision"))

    if "shap" in args.methods:  # all five classes' attributions are kept
        with shap_reference(model, tokenizer, splits["train"], args) as background:
            stamp = make_stamp(args, device, of_neither + of_lime, **explained, background=background)
            done = explain_rows(folder / f"{args.name}.shap.jsonl", rows, lambda row: explain_shap(
                model, tokenizer, row["text"], args.max_evals, args.seed), stamp, args.overwrite, f"{args.name}, SHAP")
        show("SHAP", done[0], done[0]["tokens"], np.array(done[0]["attributions"])[:, done[0]["predicted"]])

    if "lime" in args.methods:  # the model's own class (A13: LIME's default would be class 1 for every sentence)
        stamp = make_stamp(args, device, of_neither + of_shap, **explained)
        done = explain_rows(folder / f"{args.name}.lime.jsonl", rows, lambda row: explain_lime(
            model, tokenizer, row["text"], row["predicted"], args.lime_samples, args.lime_features, args.seed,
            args.lime_precision), stamp, args.overwrite, f"{args.name}, LIME")
        show("LIME", done[0], done[0]["words"], done[0]["attributions"])
    return args


if __name__ == "__main__":
    run(main)
