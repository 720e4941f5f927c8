"""How fast LIME and SHAP are here, against two other ways to ask the same model. Not a test.

    python tests/bench_explain.py --artifacts artifacts-cpu --sentences 5 --rounds 3

pipeline: transformers.pipeline(..., top_k=None), as people write it. loop: batches of 64 in the
order given, padded. Both explain as the libraries do by default. Each sentence is explained in all
ways in turn, so that a machine whose speed varies is unfair to none. Ratios are medians. IG,
integrated gradients, is compared with SHAP. full batch: how many tokens a second predict_proba
reads of LIME's sentences, against the model alone on batches of 384 tokens without padding.
"""
import importlib
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
import transformers

import common

explain = importlib.import_module("03_explain")


def loop(model, tokenizer, texts):
    """Probabilities (n, 5), batch by batch."""
    p = []
    for start in range(0, len(texts), 64):
        batch = tokenizer(list(texts[start:start + 64]), padding=True, truncation=True,
                          return_token_type_ids=False, return_tensors="pt")
        with torch.inference_mode():
            p.append(model(**batch.to(model.device)).logits.double().softmax(-1).cpu())
    return torch.cat(p).numpy()


def pipeline(model, tokenizer, texts):
    """Probabilities (n, 5), one text at a time."""
    ask = transformers.pipeline("text-classification", model, tokenizer=tokenizer, top_k=None)
    said = [{one["label"]: one["score"] for one in scores} for scores in ask(list(map(str, texts)))]
    return np.array([[scores[label] for label in common.LABELS] for scores in said])


def plain_lime(ask, text, label, samples):
    """LIME's attributions with the same random words."""
    from lime.lime_text import LimeTextExplainer
    explainer = LimeTextExplainer(random_state=common.sentence_seed(common.SEED, text))
    explanation = explainer.explain_instance(text, ask, labels=(label,), num_features=10,
                                             num_samples=samples)
    return [weight for _, weight in explanation.local_exp[label]]


def plain_shap(ask, tokenizer, text, max_evals):
    """SHAP's attributions (n, 5), with shap's own batches."""
    import shap
    np.random.seed(common.sentence_seed(common.SEED, text))
    explainer = shap.Explainer(ask, shap.maskers.Text(tokenizer))
    return explainer([text], max_evals=max_evals, silent=True).values[0][1:-1]


def ways_of(model, tokenizer, text, samples, max_evals):
    """{(method, way): function that gives the attributions} for one sentence."""
    label = int(common.predict_proba(model, tokenizer, [text]).argmax())
    loop_f, pipeline_f = partial(loop, model, tokenizer), partial(pipeline, model, tokenizer)
    return {
        ("LIME", "here"): lambda: explain.explain_lime(model, tokenizer, text, label,
                                                       samples)["attributions"],
        ("LIME", "loop"): lambda: plain_lime(loop_f, text, label, samples),
        ("LIME", "pipeline"): lambda: plain_lime(pipeline_f, text, label, samples),
        ("SHAP", "here"): lambda: common.explain_shap(model, tokenizer, text, None,
                                                      max_evals)["attributions"],
        ("SHAP", "loop"): lambda: plain_shap(loop_f, tokenizer, text, max_evals),
        ("SHAP", "pipeline"): lambda: plain_shap(pipeline_f, tokenizer, text, max_evals),
        ("IG", "here"): lambda: explain.explain_ig(
            model, tokenizer, text, model.get_input_embeddings().weight.mean(0))["attributions"]}


def share_of_full_batch(model, tokenizer, text, samples):
    """Tokens a second of predict_proba on LIME's sentences / of the model on full batches."""
    asked = []

    def record(texts):
        asked.extend(texts)
        return np.full((len(texts), len(common.LABELS)), 0.2)

    plain_lime(record, text, 0, samples)
    lengths = [len(ids) for ids in common.encode(tokenizer, set(asked))]
    started = time.perf_counter()
    common.predict_proba(model, tokenizer, asked)
    ours = sum(lengths) / (time.perf_counter() - started)
    length = int(np.median(lengths))
    batch = torch.full((384 // length, length), tokenizer.mask_token_id, device=model.device)
    inputs = {"input_ids": batch, "attention_mask": torch.ones_like(batch)}
    calls = sum(lengths) // batch.numel() + 1
    started = time.perf_counter()
    with torch.inference_mode():
        for _ in range(calls):
            model(**inputs).logits.cpu()
    return ours * (time.perf_counter() - started) / (calls * batch.numel())


def main():
    parser = common.cli(__doc__, device=True)
    parser.add_argument("--sentences", type=common.positive, default=5, help="how many to explain")
    parser.add_argument("--rounds", type=common.positive, default=3, help="how often each")
    parser.add_argument("--lime-samples", type=common.positive, default=5000, help="a sentence")
    parser.add_argument("--max-evals", type=common.positive, default=500, help="of SHAP")
    args = parser.parse_args()
    device, subset = common.pick_device(args.device), common.load_subset(args.artifacts)
    model, tokenizer = common.load_classifier(args.artifacts, "bert_42", device)
    texts = [row["text"] for row in subset[::max(1, len(subset) // args.sentences)]]
    seconds, changes, shares = {}, {"LIME": 0, "SHAP": 0}, []
    for text in texts[:args.sentences] * args.rounds:
        shares.append(share_of_full_batch(model, tokenizer, text, args.lime_samples))
        ways, results = ways_of(model, tokenizer, text, args.lime_samples, args.max_evals), {}
        for way, attributions in ways.items():
            started = time.perf_counter()
            results[way] = np.array(attributions())
            seconds.setdefault(way, []).append(time.perf_counter() - started)
        for method in changes:
            change = np.abs(results[method, "here"] - results[method, "loop"]).max()
            changes[method] = max(changes[method], change)
    for method, change in changes.items():
        here = np.array(seconds[method, "here"])
        for other in ("loop", "pipeline"):
            ratio = np.median(np.array(seconds[method, other]) / here)
            print(f"{method}: {ratio:.2f} times as fast as the {other}")
        print(f"{method}: {np.median(here):.2f} s a sentence; largest difference of an attribution "
              f"to the loop's: {change:.1e}")
    ig, shap = (np.array(seconds[method, "here"]) for method in ("IG", "SHAP"))
    print(f"IG: {np.median(ig):.2f} s a sentence, {np.median(ig / shap):.2f} of SHAP's time")
    print(f"predict_proba: {np.median(shares):.2f} of the full batch's tokens a second")


if __name__ == "__main__":
    main()
