"""Sections 3.1 and 3.6: explain one model's predictions on the balanced subset.

Reads   the text (--data: the subset is drawn from the test split); models/<model>_<seed>/
Writes  subset.jsonl (once: all models explain the same sentences);
        explanations/<model>_<seed>.<method>.jsonl : one line a sentence; a stamp beside each

    python 03_explain.py
    python 03_explain.py --model bert
    python 03_explain.py --model bert --methods shap_mask lime_seed --of-each 6

Without --model it draws the subset alone. Methods: shap (3.6; explain_shap in common.py, which 05
uses too) and lime (3.6); ig, integrated gradients, which never removes a token; shap_mask, SHAP
with [MASK] as its reference (A11); lime_seed, LIME with another sampling seed. Run again after an
interruption, it goes on with the next sentence. The subset and the sampling of SHAP and LIME have
the seed 42; --seed is the model's.
"""
import random
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from common import (LABELS, PER_CLASS, SEED, SHAP_EVALS, cli, digest, encode, explain_all,
                    explain_shap, load_classifier, load_splits, load_subset, make_stamp,
                    mean_embedding, model_name, model_stamp, pad, pick_device, pick_precision,
                    positive, predict_proba, predicted_attributions, run, sentence_seed, stop,
                    token_spans, top_k, write_jsonl)

LIME_SAMPLES, LIME_FEATURES = 5000, 10  # 3.6
POLARITY = len(LABELS)  # LIME's index of a sixth output, the polarity score sum_c (c - 2) p_c
IG_STEPS = 24  # points on the path; completeness_gap says how exact the sum over them is


def balanced_subset(rows, per_class):
    """per_class sentences of every class (3.1), in the order of the split: random.Random(42).sample
    of the sentences of class 0, then of class 1, and so on (A2)."""
    of_class = [[row for row in rows if row["label"] == label] for label in range(len(LABELS))]
    fewest = min(map(len, of_class))
    if fewest < per_class:
        stop(f"there are test classes of fewer than {per_class} sentences; --per-class {fewest} "
             f"(PER_CLASS={fewest} for run_all.sh) takes as many of each as the smallest has")
    rng, drawn = random.Random(SEED), []
    for candidates in of_class:
        drawn += rng.sample(candidates, per_class)
    return sorted(drawn, key=rows.index)


def explain_lime(model, tokenizer, text, label, num_samples=LIME_SAMPLES, seed=SEED,
                 precision="fp32"):
    """LIME (3.6): words are removed at random, every occurrence at once, the library's default.
    Returns words and their attributions (m,) for the class `label`, m <= 10, largest first; spans:
    for each word a list of [start, end], one per occurrence; polarity_words and
    polarity_attributions, the same for the polarity score. A word that LIME does not choose is not
    there; 04 gives it 0."""
    from lime.lime_text import LimeTextExplainer
    if not re.search(r"\w", text):  # without a word there is nothing to remove: LIME would raise
        return {"words": [], "spans": [], "attributions": [], "polarity_words": [],
                "polarity_attributions": []}

    def f(texts):  # (m, 6): five probabilities and the polarity score
        p = predict_proba(model, tokenizer, texts, precision)
        return np.column_stack([p, p @ (np.arange(len(LABELS)) - 2)])

    explainer = LimeTextExplainer(random_state=sentence_seed(seed, text))
    explanation = explainer.explain_instance(text, f, labels=(label, POLARITY),
                                             num_samples=num_samples, num_features=LIME_FEATURES)
    indexed = explanation.domain_mapper.indexed_string
    ids, weights = zip(*explanation.local_exp[label])
    polarity_ids, polarity_weights = zip(*explanation.local_exp[POLARITY])
    words = [str(indexed.word(i)) for i in ids]
    spans = [[[int(start), int(start) + len(word)] for start in indexed.string_position(i)]
             for i, word in zip(ids, words)]
    return {"words": words, "spans": spans, "attributions": weights,
            "polarity_words": [str(indexed.word(i)) for i in polarity_ids],
            "polarity_attributions": polarity_weights}


def explain_ig(model, tokenizer, text, reference, steps=IG_STEPS):
    """Integrated gradients (A33, Sundararajan et al. 2017) of the probabilities in the embeddings.
    The path leads from a baseline, in which every wordpiece but [CLS] and [SEP] has the embedding
    `reference` (width,), to the sentence; the integral is a Gauss-Legendre quadrature of `steps`
    points. The fields are those of explain_shap, and completeness_gap (5,):
    |sum of attributions - (p(sentence) - p(reference))|."""
    ids = pad(tokenizer, encode(tokenizer, [text]), model.device)["input_ids"][0]
    end = model.get_input_embeddings().weight[ids].detach()  # (n + 2, width)
    start = end.clone()
    start[1:-1] = reference

    def probabilities(embeddings):  # (m, n + 2, width) -> (m, 5)
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=end.device)
        return model(inputs_embeds=embeddings, attention_mask=mask).logits.double().softmax(-1)

    points, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    points = torch.tensor((points + 1) / 2, dtype=end.dtype, device=end.device)
    weights = torch.tensor(weights / 2, dtype=end.dtype, device=end.device)
    path = (start + points[:, None, None] * (end - start)).requires_grad_()
    p, phi = probabilities(path), []
    for c in range(len(LABELS)):
        gradient, = torch.autograd.grad(p[:, c].sum(), path, retain_graph=True)
        mean_gradient = torch.einsum("s,snw->nw", weights, gradient)
        phi.append((mean_gradient * (end - start)).sum(-1).double())
    phi = torch.stack(phi, 1).cpu().numpy()  # (n + 2, 5)
    with torch.no_grad():
        p_start, p_end = probabilities(torch.stack([start, end])).cpu().numpy()
    tokens, spans = token_spans(tokenizer, text)
    attributions = np.zeros((len(tokens), len(LABELS)))  # 0 for what is cut off at 256 tokens
    attributions[:len(phi) - 2] = phi[1:-1]
    return {"tokens": tokens, "spans": spans, "attributions": attributions,
            "special_attributions": phi[[0, -1]], "base_values": p_start,
            "completeness_gap": np.abs(phi.sum(0) - (p_end - p_start))}


def parse_args(argv=None):
    parser = cli(__doc__, "--data", "--device", "--overwrite", "--seed")
    parser.add_argument("--model", type=model_name, help="a model that 01 or 02 made; without it "
                        "the subset alone is drawn")
    parser.add_argument("--methods", nargs="+", default=["shap", "lime", "ig"],
                        choices=("shap", "lime", "ig", "shap_mask", "lime_seed"),
                        help="how to explain")
    parser.add_argument("--per-class", type=positive, default=PER_CLASS,
                        help="test sentences of each class in the subset (A2)")
    parser.add_argument("--of-each", type=positive, metavar="N",
                        help="explain only the first N sentences of each class")
    parser.add_argument("--max-evals", type=positive, default=SHAP_EVALS,
                        help="masked sentences that SHAP asks for, a sentence (A12)")
    parser.add_argument("--lime-samples", type=positive, default=LIME_SAMPLES,
                        help="perturbed sentences that LIME asks for, a sentence")
    parser.add_argument("--lime-precision", choices=("auto", "fp32", "fp16", "bf16"),
                        default="auto", help="auto is fp16 on a GPU, fp32 on a CPU (A10)")
    return parser.parse_args(argv)


def main(args):
    device = pick_device(args.device)
    splits = load_splits(args.data)
    subset_path = Path(args.artifacts) / "subset.jsonl"
    subset = balanced_subset(splits["test"], args.per_class)
    if not subset_path.is_file():
        write_jsonl(subset_path, subset)
    if load_subset(args.artifacts) != subset:
        stop(f"{subset_path} holds other sentences than --data and --per-class give; --artifacts "
             "DIR keeps both")
    print(f"{subset_path}: {len(subset)} sentences, {args.per_class} of each class")
    if args.model is None:
        return

    name = f"{args.model}_{args.seed}"
    weights = model_stamp(args.artifacts, name, splits)["weights"]
    inputs = {"weights": weights, "subset": digest(subset)}
    model, tokenizer = load_classifier(args.artifacts, name, device)
    rows = subset
    if args.of_each:
        rows = pd.DataFrame(subset).groupby("label").head(args.of_each).to_dict("records")
    probabilities = predict_proba(model, tokenizer, [row["text"] for row in rows])
    rows = [row | {"probabilities": p.tolist(), "predicted": int(p.argmax())}
            for row, p in zip(rows, probabilities)]
    precision = pick_precision(args.lime_precision, device)
    reference = mean_embedding(model, tokenizer, splits["train"])

    lime_settings = {"lime_samples": args.lime_samples, "lime_precision": precision}
    settings = {  # of each method, for its stamp
        "shap": {"max_evals": args.max_evals, "reference": "mean embedding"},
        "shap_mask": {"max_evals": args.max_evals, "reference": "[MASK]"},
        "lime": lime_settings | {"lime_seed": SEED},
        "lime_seed": lime_settings | {"lime_seed": SEED + 1},
        "ig": {"ig_steps": IG_STEPS}}

    def explain(method, row):
        if method == "ig":
            return explain_ig(model, tokenizer, row["text"], reference)
        if method in ("shap", "shap_mask"):
            absent = reference if method == "shap" else None
            return explain_shap(model, tokenizer, row["text"], absent, args.max_evals)
        # A13: LIME explains the predicted class; the library's default is class 1.
        return explain_lime(model, tokenizer, row["text"], row["predicted"], args.lime_samples,
                            settings[method]["lime_seed"], precision)

    for method in args.methods:
        stamp = make_stamp(settings[method] | {"sentences": len(rows)}, inputs, device)
        path = Path(args.artifacts) / "explanations" / f"{name}.{method}.jsonl"
        row = explain_all(path, rows, partial(explain, method), stamp, args.overwrite)[0]
        if "tokens" in row:  # an example on the terminal: the five tokens of largest attribution
            phi = predicted_attributions(row)
            largest = ", ".join(f"{row['tokens'][i]} {phi[i]:+.3f}" for i in top_k(phi, 5))
            print(f"    {row['id']} is {LABELS[row['predicted']]} because of {largest}")


if __name__ == "__main__":
    run(main, parse_args())
