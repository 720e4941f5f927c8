"""Sections 3.1 and 3.6: explain one model's predictions on the balanced subset.

Reads   the text (--data: the subset is drawn from the test split); models/<model>_<seed>/
Writes  subset.jsonl (once: all models explain the same sentences) and labels.jsonl (Figure 1);
        explanations/<model>_<seed>.<method>.jsonl : one line a sentence;
        settings/subset.json and <method>.json: what all later calls must agree with
Deletes measures/, if it rests on an earlier explanation of this model by this method

    python 03_explain.py
    python 03_explain.py --model bert
    python 03_explain.py --model bert --methods shap_mask lime_resampled --first-per-class 6

Without --model it draws the subset alone. Methods: shap (3.6; explain_shap in common.py, which 05
uses too) and lime (3.6); ig, integrated gradients from SHAP's absent tokens to the sentence (A33);
shap_mask, SHAP with [MASK] as its reference (A11); lime_resampled, LIME with another sampling seed.
Run again after an interruption, it goes on with the next sentence. --seed is the model's training
seed; A11's background, LIME's samples (of lime_resampled: 43) and SHAP's ties have the seed 42.
"""
import random
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from common import (LABELS, PER_CLASS, SEED, SHAP_EVALS, cli, cut_to_model_length,
                    delete_measures_of, device_and_text, encode, explain_all, explain_shap,
                    explained_rows, load_classifier, load_subset, mean_embedding, model_name, pad,
                    pick_precision, pin_settings, positive_int, predict_proba, run, sentence_seed,
                    stop, token_spans, write_jsonl)

LIME_SAMPLES, LIME_FEATURES = 5000, 10  # 3.6
POLARITY_OUTPUT = len(LABELS)  # LIME explains a sixth output too: the polarity score
IG_STEPS = 24  # points on the path; completeness_gap says how exact the sum over them is


def balanced_subset(rows, per_class, seed=SEED):
    """per_class sentences of every class (3.1), in the order of the split: random.Random(seed)
    samples the sentences of class 0, then those of class 1, and so on (A2)."""
    of_class = [[row for row in rows if row["label"] == label] for label in range(len(LABELS))]
    fewest = min(map(len, of_class))
    if fewest < per_class:
        stop(f"there are test classes of fewer than {per_class} sentences; --per-class {fewest} "
             f"(PER_CLASS={fewest} for run_all.sh) takes as many of each as the smallest has")
    rng, drawn = random.Random(seed), []
    for candidates in of_class:
        drawn += rng.sample(candidates, per_class)
    return sorted(drawn, key=rows.index)


def explain_lime(model, tokenizer, text, label, num_samples=LIME_SAMPLES, seed=SEED,
                 precision="fp32"):
    """LIME (3.6): words are removed at random, every occurrence at once, the library's default.

    Returns for the class `label` words and their attributions (m,), m <= 10, largest first, and
    spans, for each word a list of [start, end], one per occurrence. polarity_words and
    polarity_attributions are the same for the polarity score sum_c (c - 2) p_c. A word that LIME
    does not choose is not there; 04 gives it 0.
    """
    from lime.lime_text import LimeTextExplainer
    if not re.search(r"\w", text):  # without a word there is nothing to remove: LIME would raise
        return {"words": [], "spans": [], "attributions": [], "polarity_words": [],
                "polarity_attributions": []}

    def f(texts):  # (m, 6): five probabilities and the polarity score
        p = predict_proba(model, tokenizer, texts, precision)
        return np.column_stack([p, p @ (np.arange(len(LABELS)) - 2)])

    explainer = LimeTextExplainer(random_state=sentence_seed(seed, text))
    explanation = explainer.explain_instance(text, f, labels=(label, POLARITY_OUTPUT),
                                             num_samples=num_samples, num_features=LIME_FEATURES)
    words, weights = map(list, zip(*explanation.as_list(label)))
    polarity_words, polarity_weights = map(list, zip(*explanation.as_list(POLARITY_OUTPUT)))
    places = [(found.group(), [*found.span()]) for found in re.finditer(r"\w+", text)]
    spans = [[span for place, span in places if place == word] for word in words]
    return {"words": words, "spans": spans, "attributions": weights,
            "polarity_words": polarity_words, "polarity_attributions": polarity_weights}


def explain_ig(model, tokenizer, text, reference, steps=IG_STEPS):
    """Integrated gradients (A33, Sundararajan et al. 2017) of the probabilities in the embeddings.
    The path leads from a baseline, in which every wordpiece but [CLS] and [SEP] has the embedding
    `reference` (width,), to the sentence; the integral is a Gauss-Legendre quadrature of `steps`
    points. The fields are those of explain_shap, and completeness_gap (5,):
    |sum of attributions - (p(sentence) - p(baseline))|."""
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
    return {"tokens": tokens, "spans": spans, "attributions": phi[1:-1],
            "special_attributions": phi[[0, -1]], "base_values": p_start,
            "completeness_gap": np.abs(phi.sum(0) - (p_end - p_start))}


def parse_args(argv=None):
    parser = cli(__doc__, "--data", "--device", "--seed")
    parser.add_argument("--model", type=model_name, help="a model that 01 or 02 made; without it "
                        "the subset alone is drawn")
    parser.add_argument("--methods", nargs="+", default=["shap", "lime", "ig"],
                        choices=("shap", "lime", "ig", "shap_mask", "lime_resampled"),
                        help="how to explain")
    parser.add_argument("--per-class", type=positive_int, default=PER_CLASS,
                        help="test sentences of each class in the subset (A2)")
    parser.add_argument("--subset-seed", type=positive_int, default=SEED,
                        help="draws the subset; another seed draws other sentences (A2)")
    parser.add_argument("--first-per-class", type=positive_int, metavar="N",
                        help="explain only the first N of these sentences of each class")
    parser.add_argument("--max-evals", type=positive_int, default=SHAP_EVALS,
                        help="masked sentences that SHAP asks for, a sentence (A12)")
    parser.add_argument("--lime-samples", type=positive_int, default=LIME_SAMPLES,
                        help="perturbed sentences that LIME asks for, a sentence")
    parser.add_argument("--lime-precision", choices=("auto", "fp32", "fp16", "bf16"),
                        default="auto", help="auto is fp16 on a GPU, fp32 on a CPU (A10)")
    return parser.parse_args(argv)


def main(args):
    device, splits = device_and_text(args)
    artifacts, name = Path(args.artifacts), f"{args.model}_{args.seed}"
    pin_settings(artifacts, "subset", {"per_class": args.per_class, "seed": args.subset_seed},
                 ["subset.jsonl", "explanations/*"])
    texts = pd.concat(map(pd.DataFrame, splits.values()), keys=splits, names=["split"])
    counts = texts.groupby(["split", "label"]).size().reset_index(name="sentences")
    write_jsonl(artifacts / "labels.jsonl", counts.to_dict("records"))  # Figure 1 (A1)
    if not (artifacts / "subset.jsonl").is_file():
        drawn = balanced_subset(splits["test"], args.per_class, args.subset_seed)
        write_jsonl(artifacts / "subset.jsonl", drawn)
    subset = load_subset(artifacts)
    print(f"subset.jsonl: {len(subset)} sentences, {args.per_class} of each class")
    if args.model is None:
        return

    model, tokenizer = load_classifier(artifacts, name, device)
    first = args.first_per_class or args.per_class
    rows = pd.DataFrame(subset).groupby("label").head(first).to_dict("records")
    read = [cut_to_model_length(tokenizer, row["text"]) for row in rows]
    cut = sum(text != row["text"] for text, row in zip(read, rows))
    if cut:
        print(f"{cut} of {len(rows)} texts are longer than the model reads; what it reads of them "
              "is explained")
    rows = [row | {"text": text, "probabilities": p.tolist(), "predicted": int(p.argmax())}
            for row, text, p in zip(rows, read, predict_proba(model, tokenizer, read))]
    reference = mean_embedding(model, tokenizer, splits["train"])
    precision = pick_precision(args.lime_precision, device)

    def explain(row, method):
        text = row["text"]
        if method == "shap":
            return explain_shap(model, tokenizer, text, reference, args.max_evals)
        if method == "shap_mask":  # [MASK] keeps its own embedding (A11)
            return explain_shap(model, tokenizer, text, None, args.max_evals)
        if method == "ig":
            return explain_ig(model, tokenizer, text, reference)
        seed = SEED if method == "lime" else SEED + 1
        return explain_lime(model, tokenizer, text, row["predicted"],  # A13: the predicted class
                            args.lime_samples, seed, precision)

    of_shap = {"max_evals": args.max_evals}
    of_lime = {"lime_samples": args.lime_samples, "lime_precision": precision}
    settings = {"shap": of_shap, "shap_mask": of_shap, "lime": of_lime, "lime_resampled": of_lime,
                "ig": {"ig_steps": IG_STEPS}}
    for method in args.methods:
        pin_settings(artifacts, method, settings[method] | {"sentences": len(rows)},
                     [f"explanations/*.{method}.jsonl"])
        path = artifacts / "explanations" / f"{name}.{method}.jsonl"
        if len(explained_rows(path)) < len(rows):
            delete_measures_of(artifacts, name, method)
        explain_all(path, rows, partial(explain, method=method))


if __name__ == "__main__":
    run(main, parse_args())
