"""How fast the explanations are, on one model and ten sentences. A benchmark, run by hand; not a test.

    python tests/bench_explain.py --artifacts artifacts-cpu --data standins/cpu/text

In one run, in turn, the median of several rounds, of LIME (5,000 samples) and SHAP (500 evaluations) on
(a) what people write, transformers.pipeline(..., top_k=None); (b) a careful plain loop: batches of 64 in the order given,
fp32; (c) ours, common.predict_proba. (b) and (c) must give the same attributions.
"""
import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from lime.lime_text import LimeTextExplainer
from transformers import pipeline

sys.path.insert(0, str(Path(__file__).parent.parent))
import shap

import common


def people_write(folder):
    """(a): the pipeline, one text at a time, which is its default."""
    classify = pipeline("text-classification", model=str(folder), top_k=None)

    def f(texts):
        order = {label: i for i, label in enumerate(common.LABELS)}
        return np.array([[s["score"] for s in sorted(said, key=lambda s: order[s["label"]])] for said in classify([str(t) for t in texts])])
    return f


def plain_loop(model, tokenizer, size=64):
    """(b): every text, in the order given, 64 a batch, padded to the longest of the batch."""
    @torch.inference_mode()
    def f(texts):
        texts, parts = [str(t) for t in texts], []
        for start in range(0, len(texts), size):
            batch = tokenizer(texts[start:start + size], padding=True, truncation=True, max_length=256, return_tensors="pt",
                              return_token_type_ids=False)
            parts.append(model(**batch).logits.double().softmax(-1).numpy())
        return np.concatenate(parts)
    return f


def lime_of(f, text, label, samples):
    explainer = LimeTextExplainer(class_names=common.LABELS, random_state=common.sentence_seed(common.SEED, text))
    explanation = explainer.explain_instance(text, f, labels=(label,), num_features=10, num_samples=samples)
    return dict(explanation.as_map()[label])


def shap_of(f, tokenizer, text):
    np.random.seed(common.sentence_seed(common.SEED, text))
    return shap.Explainer(f, shap.maskers.Text(tokenizer))([text], silent=True).values[0]


def timed(function):
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def against_full_batch(model, tokenizer, texts):
    """Tokens a second (padding not counted) of predict_proba on these texts, against one full batch of equal length."""
    ids = common.encode(tokenizer, list(dict.fromkeys(texts)))
    tokens, length = sum(map(len, ids)), max(map(len, ids))
    full = torch.randint(1000, 2000, (max(1, 4096 // length), length))
    rates = {"ours": [], "full": []}
    with torch.inference_mode():
        for _ in range(3):
            rates["ours"].append(tokens / timed(lambda: common.predict_proba(model, tokenizer, texts))[0])
            seconds, _ = timed(lambda: [model(input_ids=full, attention_mask=torch.ones_like(full)) for _ in range(8)])
            rates["full"].append(8 * full.numel() / seconds)
    return statistics.median(rates["ours"]), statistics.median(rates["full"])


def padding(model, function):
    """Share of padding among the tokens that the model is given while the function runs."""
    masks, forward = [], model.forward
    model.forward = lambda **batch: masks.append(batch["attention_mask"].float().mean().item()) or sizes.append(
        batch["attention_mask"].numel()) or forward(**batch)
    sizes = []
    function()
    model.forward = forward
    return 1 - np.average(masks, weights=sizes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=common.HelpFormatter)
    parser.add_argument("--artifacts", default="artifacts-cpu", help="holds models/bert")
    parser.add_argument("--data", default="standins/cpu/text", help="its test split gives the sentences")
    parser.add_argument("--sentences", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lime-samples", type=int, default=5000)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"), help="of LIME in (c), the preset's choice")
    parser.add_argument("--growth", action="store_true", help="instead: time and memory for 10, 50 and 150 sentences")
    args = parser.parse_args()
    folder = common.model_folder(args.artifacts, "bert")
    model, tokenizer = common.load_classifier(args.artifacts, "bert", common.pick_device("cpu"))
    test = common.load_splits(args.data)["test"]
    print(f"{common.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}")

    def ours(texts, precision="fp32"):
        return common.predict_proba(model, tokenizer, [str(t) for t in texts], precision)

    if args.growth:
        for n in (10, 50, 150):
            texts = [row["text"] for row in common.balanced_subset(test, n // 5, common.SEED)]
            seconds, _ = timed(lambda texts=texts: [common.explain_shap(model, tokenizer, t) for t in texts])
            print(f"SHAP, {n} sentences: {seconds:.0f} s, {seconds / n:.2f} s each, peak "
                  f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB", flush=True)
        return

    texts = [row["text"] for row in common.balanced_subset(test, max(1, args.sentences // 5), common.SEED)]
    labels = [int(p.argmax()) for p in ours(texts)]
    a, b = people_write(folder), plain_loop(model, tokenizer)
    asked = {"LIME": [], "SHAP": []}  # what the explainers ask for
    ways = {("LIME", "a"): lambda t, y: lime_of(a, t, y, args.lime_samples), ("LIME", "b"): lambda t, y: lime_of(b, t, y, args.lime_samples),
            ("LIME", "c"): lambda t, y: lime_of(ours, t, y, args.lime_samples),
            ("SHAP", "a"): lambda t, y: shap_of(a, tokenizer, t), ("SHAP", "b"): lambda t, y: shap_of(b, tokenizer, t),
            ("SHAP", "c"): lambda t, y: (e := common.explain_shap(model, tokenizer, t)) and np.concatenate(
                [e["special_attributions"][:1], e["attributions"], e["special_attributions"][1:]])}
    if args.precision != "fp32":
        ways["LIME", f"c, {args.precision}"] = lambda t, y: lime_of(lambda x: ours(x, args.precision), t, y, args.lime_samples)
    seconds, results = {way: [] for way in ways}, {}
    for _ in range(args.rounds):
        for way, explain in ways.items():
            if way[1] == "a" and seconds[way]:
                continue  # once is enough of the slow one
            taken, results[way] = timed(lambda explain=explain: [explain(t, y) for t, y in zip(texts, labels)])
            seconds[way].append(taken)
            print(f"{way[0]} ({way[1]}): {taken:.1f} s", flush=True)
    median = {way: statistics.median(taken) for way, taken in seconds.items()}

    for method, run in (("LIME", lambda f, t, y: lime_of(f, t, y, args.lime_samples)), ("SHAP", lambda f, t, y: shap_of(f, tokenizer, t))):
        for text, label in zip(texts, labels):
            strings = []
            run(lambda x, strings=strings: (strings.extend(str(t) for t in x), b(x))[1], text, label)
            asked[method].append(strings)
    for method in ("LIME", "SHAP"):
        apart = max(abs(x[k] - y[k]) for x, y in zip(results[method, "b"], results[method, "c"]) for k in x) if method == "LIME" else max(
            np.abs(x - y).max() for x, y in zip(results[method, "b"], results[method, "c"]))
        print(f"{method}: ours {median[method, 'b'] / median[method, 'c']:.2f} times as fast as (b), "
              f"{median[method, 'a'] / median[method, 'c']:.2f} as (a); largest difference of an attribution from (b) {apart:.1e}; "
              f"distinct {sum(len(set(s)) for s in asked[method])} of {sum(map(len, asked[method]))} asked")
    for way in [w for w in ways if "," in w[1]]:
        print(f"LIME at {args.precision}: {median['LIME', 'a'] / median[way]:.2f} times as fast as (a)")
    print(f"padding of LIME's strings: (b) {padding(model, lambda: b(asked['LIME'][0])):.0%}, ours {padding(model, lambda: ours(asked['LIME'][0])):.0%}")
    rate, full = against_full_batch(model, tokenizer, [t for s in asked["LIME"] for t in s])
    print(f"tokens a second on LIME's strings {rate:,.0f}, on one full batch {full:,.0f}: {rate / full:.2f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
