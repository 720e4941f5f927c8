"""How fast the explanations and the training are, on the trained BERT of a run and sentences of its text. A benchmark, run by
hand on a quiet machine; not a test.

    python tests/bench_explain.py               LIME (5,000 samples) and SHAP (500 evaluations), in turn, median of the rounds, of
                                                (a) what people write, transformers.pipeline(..., top_k=None),
                                                (b) a careful plain loop: batches of 64 in the order given, fp32,
                                                (c) ours, as 03 explains, which must give (b)'s attributions
    python tests/bench_explain.py --growth      time and memory of SHAP for 10, 50 and 150 sentences
    python tests/bench_explain.py --training standins/cpu/encoder    60 steps with batches of like length, and without
    python tests/bench_explain.py --precision bf16   what bf16 (or fp16) in place of fp32 changes in the explanations
"""
import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from lime.lime_text import LimeTextExplainer
from transformers import AutoModelForSequenceClassification, pipeline

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


def shap_of_ours(model, tokenizer, texts, max_evals=common.SHAP_EVALS):
    """As 03 does, so many sentences by turns."""
    return [row for i in range(0, len(texts), common.SHAP_TOGETHER)
            for row in common.explain_shap(model, tokenizer, texts[i:i + common.SHAP_TOGETHER], max_evals)]


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
    given, forward = [], model.forward

    def counted(input_ids, attention_mask):
        given.append((attention_mask.sum().item(), attention_mask.numel()))
        return forward(input_ids=input_ids, attention_mask=attention_mask)

    model.forward = counted
    function()
    model.forward = forward
    tokens, cells = np.sum(given, 0)
    return 1 - tokens / cells


def products(function):
    """Share of matrix products in a function's time on the CPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function()
    ops = {op.key: op.self_cpu_time_total for op in profile.key_averages()}
    return sum(ops.get(f"aten::{op}", 0) for op in ("addmm", "mm", "bmm", "baddbmm")) / sum(ops.values())


def growth(model, tokenizer, test):
    for n in (10, 50, 150):
        texts = [row["text"] for row in common.balanced_subset(test, n // 5, common.SEED)]
        seconds, _ = timed(lambda texts=texts: shap_of_ours(model, tokenizer, texts, 100))
        tokens = sum(len(common.token_ids(tokenizer, t)) for t in texts)
        print(f"SHAP, 100 evaluations, {n} sentences of {tokens / n:.1f} tokens: {seconds:.0f} s, {seconds / n:.2f} s each, peak "
              f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB", flush=True)


def training(checkpoint, splits):
    """60 steps of batches of 32, which are drawn from the whole text either way, and 200 validation sentences."""
    splits, seconds = splits | {"validation": splits["validation"][:200]}, {}
    for grouped in (True, False):
        with tempfile.TemporaryDirectory() as artifacts:
            args = argparse.Namespace(artifacts=artifacts, name="bert", seed=common.SEED, epochs=1, patience=1, learning_rate=5e-5, batch_size=32,
                                      precision="fp32", group_by_length=grouped, max_steps=60, overwrite=True)
            model, tokenizer = common.load_encoder(checkpoint, common.SEED)
            log = common.fit(model, tokenizer, splits, lambda logits, labels, ids: torch.nn.functional.cross_entropy(logits, labels), args,
                             {"arguments": {}, "inputs": {}})
        seconds[grouped] = log[0]["seconds"]
    print(f"60 steps: {seconds[True]:.0f} s with batches of like length, {seconds[False]:.0f} s without: {seconds[False] / seconds[True]:.2f} times")


def harm(model, tokenizer, texts, precision, samples):
    """What a precision changes against fp32: Table 1 (SHAP's drops and flips at k = 3), and, of two explanations that are the same
    but for it, what Tables 2 and 3 measure of two models: the ten largest, the cosine."""
    exact = common.predict_proba
    for method in ("SHAP", "LIME"):
        kept, cosines, apart, drops, flips = [], [], [], [], []
        for text in texts:
            p = exact(model, tokenizer, [text])[0]
            label, ids, phi = int(p.argmax()), common.token_ids(tokenizer, text), []
            for way in ("fp32", precision):
                common.predict_proba = lambda m, t, inputs, given="fp32", token_budget=None, way=way: exact(m, t, inputs, way, token_budget)
                if method == "SHAP":
                    phi.append(dict(enumerate(common.explain_shap(model, tokenizer, [text])[0]["attributions"][:, label])))
                else:
                    e = common.explain_lime(model, tokenizer, text, label, samples, num_features=1000)
                    phi.append(dict(zip(e["words"], e["attributions"])))
            common.predict_proba = exact
            tops = [sorted(x, key=lambda i, x=x: -abs(x[i]))[:10] for x in phi]
            kept.append(len(set(tops[0]) & set(tops[1])) / len(tops[0]))
            values = [np.array([x[unit] for unit in phi[0]]) for x in phi]
            cosines.append(common.cosine(*values))
            apart.append(np.abs(values[0] - values[1]).max())
            if method == "SHAP":
                without = exact(model, tokenizer, [common.remove(ids, top[:3]) for top in tops])
                drops.append(p[label] - without[:, label])
                flips.append(without.argmax(1) != label)
        print(f"{method} at {precision}: {np.mean(kept):.1%} of the ten largest stay, {np.mean(np.array(kept) == 1):.0%} of {len(texts)} sentences keep "
              f"all; cosine {np.mean(cosines):.5f}, lowest {min(cosines):.5f}; largest difference of an attribution {max(apart):.1e}"
              + (f"; ConfDrop@3 {np.mean(drops, 0)[0]:.4f} at fp32, {np.mean(drops, 0)[1]:.4f}; FlipRate@3 {np.mean(flips, 0)[0]:.3f}, "
                 f"{np.mean(flips, 0)[1]:.3f}" if drops else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=common.HelpFormatter)
    parser.add_argument("--artifacts", default="artifacts-cpu", help="holds models/bert")
    parser.add_argument("--data", default="standins/cpu/text", help="its test split gives the sentences")
    parser.add_argument("--sentences", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lime-samples", type=int, default=5000)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--training", metavar="DIR", help="the encoder to start from, such as standins/cpu/encoder")
    parser.add_argument("--precision", choices=("bf16", "fp16"))
    args = parser.parse_args()
    splits = common.load_splits(args.data)
    print(f"{common.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}", flush=True)
    if args.training:
        return training(args.training, splits)
    folder = common.model_folder(args.artifacts, "bert")
    model, tokenizer = common.load_classifier(args.artifacts, "bert", common.pick_device("cpu"))
    if args.growth:
        return growth(model, tokenizer, splits["test"])
    texts = [row["text"] for row in common.balanced_subset(splits["test"], max(1, args.sentences // 5), common.SEED)]
    if args.precision:
        return harm(model, tokenizer, texts, args.precision, args.lime_samples)

    def ours(texts):
        return common.predict_proba(model, tokenizer, [str(t) for t in texts])

    labels = [int(p.argmax()) for p in ours(texts)]
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    a, b, asked = people_write(folder), plain_loop(plain, tokenizer), {"LIME": [], "SHAP": []}  # asked: what the explainers ask for

    def recorded(f, method):
        return lambda strings: (asked[method].extend(str(t) for t in strings), f(strings))[1]

    sentences, samples = list(zip(texts, labels)), args.lime_samples
    ways = {("LIME", "a"): lambda: [lime_of(a, t, y, samples // 10) for t, y in sentences],
            ("SHAP", "a"): lambda: [shap_of(a, tokenizer, t) for t in texts],
            ("LIME", "b"): lambda: [lime_of(recorded(b, "LIME"), t, y, samples) for t, y in sentences],
            ("SHAP", "b"): lambda: [shap_of(recorded(b, "SHAP"), tokenizer, t) for t in texts],
            ("LIME", "c"): lambda: [lime_of(ours, t, y, samples) for t, y in sentences],
            ("SHAP", "c"): lambda: [np.concatenate([e["special_attributions"][:1], e["attributions"], e["special_attributions"][1:]])
                                    for e in shap_of_ours(model, tokenizer, texts)]}
    seconds, results = {way: [] for way in ways}, {}
    for round_ in range(args.rounds):
        for way, explain in ways.items():
            if way[1] == "a" and round_:
                continue  # once is enough of the slow one
            if way[1] == "b":
                asked[way[0]].clear()
            taken, results[way] = timed(explain)
            seconds[way].append(taken * (10 if way == ("LIME", "a") else 1))  # one string after the other: a tenth of the samples
            print(f"{way[0]} ({way[1]}): {seconds[way][-1]:.1f} s", flush=True)
    median = {way: statistics.median(taken) for way, taken in seconds.items()}

    for method in ("LIME", "SHAP"):
        apart = max(abs(x[k] - y[k]) for x, y in zip(results[method, "b"], results[method, "c"]) for k in x) if method == "LIME" else max(
            np.abs(x - y).max() for x, y in zip(results[method, "b"], results[method, "c"]))
        print(f"{method}: ours {median[method, 'b'] / median[method, 'c']:.2f} times as fast as (b), "
              f"{median[method, 'a'] / median[method, 'c']:.2f} as (a); largest difference of an attribution from (b) {apart:.1e}; "
              f"distinct {len(set(asked[method]))} of {len(asked[method])} asked")
    strings = asked["LIME"][:args.lime_samples]  # of the first sentence
    print(f"padding of LIME's strings: (b) {padding(plain, lambda: b(strings)):.0%}, ours {padding(model, lambda: ours(strings)):.0%}; "
          f"of our time matrix products take {products(lambda: ours(strings)):.0%}, tokenisation "
          f"{timed(lambda: common.encode(tokenizer, list(dict.fromkeys(strings))))[0] / timed(lambda: ours(strings))[0]:.1%}")
    rate, full = against_full_batch(model, tokenizer, strings)
    print(f"tokens a second on LIME's strings {rate:,.0f}, on one full batch {full:,.0f}: {rate / full:.2f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
