"""Sections 3.1 and 3.6: explain one model's predictions on the balanced subset.

Reads   models/<model>_<seed>/ ; the text (--data: the subset is drawn from the test split)
Writes  subset.jsonl (once: all models explain the same sentences);
        explanations/<model>_<seed>.<method>.jsonl : one line a sentence; a stamp beside each

    python 03_explain.py --model bert
    python 03_explain.py --model bert --methods shap_mask lime_seed --of-each 6

Methods: shap and lime (3.6); ig, integrated gradients, which never removes a token; shap_mask, SHAP
with [MASK] as its reference (A11); lime_seed, LIME with another sampling seed. Run again after an
interruption, it goes on with the next sentence. The subset and all sampling have the seed 42;
--seed is the model's.
"""
import random
import re
from functools import partial
from pathlib import Path

import numpy as np
import torch

from common import (LABELS, PER_CLASS, SEED, SHAP_EVALS, cli, digest, encode, explain_missing,
                    explain_shap, family, load_classifier, load_splits, load_subset, make_stamp,
                    mean_embedding, pad, pick_device, pick_precision, positive, predict_proba,
                    predicted_attributions, run, sentence_seed, stop, token_spans, top_k,
                    weights_digest, write_jsonl)

METHODS = ("shap", "lime", "ig", "shap_mask", "lime_seed")
LIME_SAMPLES, LIME_FEATURES = 5000, 10  # 3.6
IG_STEPS = 24  # points on the path; completeness_gap says how exact the sum over them is


def balanced_subset(rows, per_class):
    """per_class sentences of every class (3.1), drawn as A2 says, in the order of the split."""
    rng = random.Random(SEED)
    drawn = []
    for label, name in enumerate(LABELS):
        of_class = [row for row in rows if row["label"] == label]
        if len(of_class) < per_class:
            stop(f"class {label} ({name}) has {len(of_class)} sentences, fewer than --per-class "
                 f"{per_class}")
        drawn += rng.sample(of_class, per_class)
    return sorted(drawn, key=rows.index)


def explain_lime(model, tokenizer, text, label, num_samples=LIME_SAMPLES, seed=SEED,
                 precision="fp32"):
    """LIME (3.6): words are removed at random, every occurrence at once, the library's default.

    Returns words and their attributions (m,) for the class `label`, m <= 10, largest first; spans,
    for each word one [start, end] an occurrence; polarity_words and polarity_attributions, the same
    for the polarity score sum_c (c - 2) p_c.
    """
    from lime.lime_text import LimeTextExplainer
    if not re.search(r"\w", text):  # without a word there is nothing to remove: LIME would raise
        return {"words": [], "spans": [], "attributions": [], "polarity_words": [],
                "polarity_attributions": []}
    polarity = len(LABELS)  # a sixth output beside the five probabilities

    def f(texts):
        p = predict_proba(model, tokenizer, texts, precision)
        return np.column_stack([p, p @ (np.arange(len(LABELS)) - 2)])

    explainer = LimeTextExplainer(random_state=sentence_seed(seed, text))
    explanation = explainer.explain_instance(text, f, labels=(label, polarity),
                                             num_samples=num_samples, num_features=LIME_FEATURES)
    indexed = explanation.domain_mapper.indexed_string
    ids, weights = zip(*explanation.local_exp[label])
    polarity_ids, polarity_weights = zip(*explanation.local_exp[polarity])
    words = [str(indexed.word(i)) for i in ids]
    spans = [[[int(start), int(start) + len(word)] for start in indexed.string_position(i)]
             for i, word in zip(ids, words)]
    return {"words": words, "spans": spans, "attributions": weights,
            "polarity_words": [str(indexed.word(i)) for i in polarity_ids],
            "polarity_attributions": polarity_weights}


def explain_ig(model, tokenizer, text, reference, steps=IG_STEPS):
    """Integrated gradients (Sundararajan et al. 2017) of the probabilities in the word embeddings.

    The path leads from `reference` (width,) at every wordpiece, [CLS] and [SEP] as they are, to the
    sentence; the integral is Gauss and Legendre's sum of `steps` points. The fields are those of
    explain_shap, and completeness_gap (5,): |sum of attributions - (p(sentence) - p(reference))|.
    """
    ids = pad(tokenizer, encode(tokenizer, [text]), model.device)["input_ids"][0]
    end = model.get_input_embeddings().weight[ids].detach()  # (n + 2, width)
    start = end.clone()
    start[1:-1] = reference
    points, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    along = [0, 1, *((points + 1) / 2)]  # both ends of the path, then the points
    along = torch.tensor(along, dtype=end.dtype, device=end.device)
    path = start + along[:, None, None] * (end - start)  # (2 + steps, n + 2, width)
    path.requires_grad_()
    mask = torch.ones(path.shape[:2], dtype=torch.long, device=end.device)
    p = model(inputs_embeds=path, attention_mask=mask).logits.double().softmax(-1)
    weights = torch.tensor(weights / 2, dtype=end.dtype, device=end.device)
    phi = []
    for c in range(len(LABELS) - 1):
        gradient, = torch.autograd.grad(p[2:, c].sum(), path, retain_graph=True)
        mean_gradient = torch.einsum("s,snw->nw", weights, gradient[2:])
        phi.append((mean_gradient * (end - start)).sum(-1).double())
    phi.append(-sum(phi))  # the probabilities add up to one, so their gradients to zero
    phi, p = torch.stack(phi, 1).cpu().numpy(), p.detach().cpu().numpy()
    tokens, spans = token_spans(tokenizer, text)
    attributions = np.zeros((len(tokens), len(LABELS)))  # 0 for what is cut off at 256 tokens
    attributions[:len(phi) - 2] = phi[1:-1]
    return {"tokens": tokens, "spans": spans, "attributions": attributions,
            "special_attributions": phi[[0, -1]], "base_values": p[0],
            "completeness_gap": np.abs(phi.sum(0) - (p[1] - p[0]))}


def show(method, row):
    """Print an explained sentence with the five units of largest attribution."""
    units, phi = row.get("words"), row["attributions"]  # of LIME
    if method not in ("lime", "lime_seed"):
        units, phi = row["tokens"], predicted_attributions(row)
    largest = [f"{units[i]} {phi[i]:+.3f}" for i in top_k(phi, 5)]
    print(f"{method}: {row['text']}\n    gold {LABELS[row['label']]}, predicted "
          f"{LABELS[row['predicted']]}: {', '.join(largest)}", flush=True)


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True, overwrite=True, shard=True)
    parser.add_argument("--model", type=family, required=True, help="a model that 01 or 02 made")
    parser.add_argument("--seed", type=int, default=SEED, help="the model's training seed")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["shap", "lime", "ig"],
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


def main():
    args = parse_args()
    device = pick_device(args.device)
    name = f"{args.model}_{args.seed}"
    splits = load_splits(args.data)
    weights = weights_digest(args.artifacts, name, splits)
    rows = balanced_subset(splits["test"], args.per_class)
    subset_path = Path(args.artifacts) / "subset.jsonl"
    if not subset_path.is_file():
        write_jsonl(subset_path, rows)
    if load_subset(args.artifacts) != rows:
        stop(f"{subset_path} holds other sentences than --data and --per-class give; --artifacts "
             "DIR keeps both")
    inputs = {"weights": weights, "subset": digest(rows)}

    model, tokenizer = load_classifier(args.artifacts, name, device)
    if args.of_each:
        by_label = [[row for row in rows if row["label"] == label] for label in range(len(LABELS))]
        rows = [row for of_label in by_label for row in of_label[:args.of_each]]
    probabilities = predict_proba(model, tokenizer, [row["text"] for row in rows])
    rows = [row | {"probabilities": p.tolist(), "predicted": int(p.argmax())}
            for row, p in zip(rows, probabilities)]
    precision = pick_precision(args.lime_precision, device)
    reference = mean_embedding(model, tokenizer, splits["train"])

    def explain(method, row):
        text = row["text"]
        if method == "shap":
            return explain_shap(model, tokenizer, text, reference, args.max_evals)
        if method == "shap_mask":
            return explain_shap(model, tokenizer, text, None, args.max_evals)
        if method == "ig":
            return explain_ig(model, tokenizer, text, reference)
        # A13: LIME explains the predicted class; the library's default is class 1 everywhere
        return explain_lime(model, tokenizer, text, row["predicted"], args.lime_samples,
                            SEED if method == "lime" else SEED + 1, precision)

    lime_settings = {"lime_samples": args.lime_samples, "lime_precision": precision}
    settings = {"shap": {"max_evals": args.max_evals, "reference": "mean embedding"},
                "shap_mask": {"max_evals": args.max_evals, "reference": "[MASK]"},
                "lime": lime_settings | {"lime_seed": SEED},
                "lime_seed": lime_settings | {"lime_seed": SEED + 1}, "ig": {"ig_steps": IG_STEPS}}
    for method in args.methods:
        path = Path(args.artifacts) / "explanations" / f"{name}.{method}.jsonl"
        stamp = make_stamp(settings[method], inputs, device)
        done = explain_missing(path, rows, partial(explain, method), stamp, args,
                               f"{name}, {method}")
        if done:
            show(method, done[0])
    return args


if __name__ == "__main__":
    run(main)
