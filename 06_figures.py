"""Figures 1-9 and report.md: the paper's five tables, ours beside theirs. Files only, never a model.

Reads   tables/*.json, subset.jsonl, timing.json, runs.jsonl; the docstrings of the six scripts (Figure 3)
Writes  figures/figure1..9.png and .pdf, report.md

    python 06_figures.py

Seconds, anywhere. The paper's numbers stand here once, in PAPER; nothing else of the kit knows them.
"""
import ast
from pathlib import Path
from textwrap import fill, shorten

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from common import LABELS, MODELS, PAIRS, SPLITS, cli, load_subset, read_json, read_jsonl, run

PAPER = {  # as printed, by table and row
    "figure4": {"bert": {"accuracy": 0.538, "weighted_f1": 0.532}, "distilbert": {"accuracy": 0.517, "weighted_f1": 0.487},
                "kd_tinybert": {"accuracy": 0.541, "weighted_f1": 0.530}},
    "table1": {"bert": {"confidence_drop": (0.096, 0.100), "flip_rate": 0.447, "short_token_ratio": 0.335},
               "distilbert": {"confidence_drop": (0.149, 0.107), "flip_rate": 0.393, "short_token_ratio": 0.352},
               "kd_tinybert": {"confidence_drop": (0.042, 0.110), "flip_rate": 0.000, "short_token_ratio": 0.330}},
    "table2": {PAIRS[0]: {"jaccard": 0.468, "overlap": 0.625}, PAIRS[1]: {"jaccard": 0.453, "overlap": 0.608},
               PAIRS[2]: {"jaccard": 0.449, "overlap": 0.602}},
    "table3": {PAIRS[0]: (0.720, 0.351), PAIRS[1]: (0.592, 0.430), PAIRS[2]: (0.566, 0.429)},
    "table4": {"bert": (0.641, 0.090), "distilbert": (0.614, 0.066), "kd_tinybert": (0.650, 0.112)},
    "table5": {"Original": {"bert": "Pos (0.696)", "distilbert": "Pos (0.630)", "kd_tinybert": "Pos (0.678)"},
               "Without “but”": {"bert": "Neutral (0.452)", "distilbert": "Pos (0.471)", "kd_tinybert": "Pos (0.503)"},
               "Flipped clauses": {"bert": "Neg (0.540)", "distilbert": "Neg (0.519)", "kd_tinybert": "Neg (0.455)"}}}
COLOURS = {"bert": "#0072B2", "distilbert": "#E69F00", "kd_tinybert": "#009E73"}  # Okabe and Ito: safe for colour-blind eyes
SHORT = {"negative": "Neg", "neutral": "Neutral", "positive": "Pos"}
LAYOUT = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True,
          "savefig.dpi": 200, "pdf.fonttype": 42, "axes.titlesize": 10}


# ---------------------------------------------------------------------------------------------------------------------
# Names and numbers

def model_label(name):
    """The paper's name of a model; a control's own name."""
    return MODELS.get(name, name)


def pair_label(pair):
    return "–".join(model_label(name).replace("KD-TinyBERT", "KD") for name in pair)


def number(value, digits=3):
    return "–" if value is None else f"{value:.{digits}f}"


def interval(s, digits=3, sd=False):
    """ "0.123 ± 0.045 [0.100, 0.150]" of a summary; the interval is 95%."""
    if not s["n"]:
        return "– (n = 0)"
    spread = f" ± {number(s['sd'], digits)}" if sd else ""
    return f"{number(s['mean'], digits)}{spread} [{number(s['low'], digits)}, {number(s['high'], digits)}]"


def paper_value(value):
    if value is None:
        return "–"
    return f"{value[0]:.3f} ± {value[1]:.3f}" if isinstance(value, tuple) else value if isinstance(value, str) else f"{value:.3f}"


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def find(rows, **keys):
    """The one row of a table with these values."""
    return next(row for row in rows if all(row[k] == v for k, v in keys.items()))


# ---------------------------------------------------------------------------------------------------------------------
# Figures

def bars(ax, rows, paper, names, label, colours, chance=None):
    """Ours as bars with 95% intervals, the paper's as diamonds, chance as a line across each bar."""
    x = np.arange(len(names))
    means = [row["mean"] or 0 for row in rows]
    below = [m - (row["low"] or 0) for m, row in zip(means, rows)]
    above = [(row["high"] or 0) - m for m, row in zip(means, rows)]
    ax.bar(x, means, color=colours, width=0.62, yerr=np.maximum([below, above], 0), capsize=3, error_kw={"lw": 1})
    points = [(i, p[0] if isinstance(p, tuple) else p) for i, p in enumerate(paper) if p is not None]
    ax.plot(*zip(*points), "D", color="white", markeredgecolor="black", ms=6, label="paper", ls="none")
    for i, c in enumerate(chance or []):
        ax.hlines(c["mean"] or 0, i - 0.4, i + 0.4, color="black", ls=":", lw=1.5, label="chance" if i == 0 else None)
    ax.set_xticks(x, names)
    ax.set_title(label)
    ax.axhline(0, color="black", lw=0.6)


def figure1(tables, artifacts):
    """Label distribution of the whole data set (A1), by split."""
    fig, ax = plt.subplots(figsize=(6.2, 3))
    base = np.zeros(len(LABELS))
    for split, colour in zip(SPLITS, ("#56B4E9", "#CC79A7", "#999999")):
        counts = np.array(find(tables["figure1"], split=split)["counts"])
        ax.bar(LABELS, counts, bottom=base, color=colour, label=f"{split} ({counts.sum():,})", width=0.7)
        base += counts
    for i, total in enumerate(base):
        ax.text(i, total, f"{int(total):,}", ha="center", va="bottom")
    ax.set_ylabel("sentences")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return fig, f"Label distribution of the data set, n = {int(base.sum()):,} sentences in three splits."


def figure2(tables, artifacts):
    """Two sentences of each class of the subset."""
    rows = load_subset(artifacts)
    shown = [row for label in range(len(LABELS)) for row in [r for r in rows if r["label"] == label][:2]]
    fig, ax = plt.subplots(figsize=(6.8, 3.6))
    ax.axis("off")
    table = ax.table([[r["id"], shorten(r["text"], 88, placeholder=" …").replace("$", r"\$"), LABELS[r["label"]]] for r in shown],
                     colLabels=["id", "text", "gold"], colWidths=[0.12, 0.72, 0.16], cellLoc="left", loc="center",
                     bbox=[0, 0, 1, 1])
    table.auto_set_font_size(False)
    table.set_fontsize(6.5)
    for (row, _), cell in table.get_celld().items():
        cell.set_linewidth(0.3)
        if row == 0:
            cell.set_text_props(weight="bold")
    return fig, f"The first two sentences of each class of the balanced subset, n = {len(rows)}."


def scripts_say():
    """[(script, title, reads, writes)] from the docstrings: the pipeline figure is what the scripts say of themselves."""
    said = []
    for path in sorted(Path(__file__).parent.glob("0[1-6]_*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        reads, _, rest = doc.partition("Reads")[2].partition("Writes")
        said.append((path.name, doc.split("\n")[0], *(" ".join(part.split("\n\n")[0].split()) for part in (reads, rest))))
    return said


def figure3(tables, artifacts):
    """The pipeline, drawn from the scripts' own reads and writes."""
    said = scripts_say()
    fig, ax = plt.subplots(figsize=(7.2, 7.2))
    ax.axis("off")
    ax.set(xlim=(0, 10), ylim=(-len(said) + 0.4, 0.75))
    for x, head in ((1.4, "reads"), (4.9, "stage"), (8.5, "writes")):
        ax.text(x, 0.6, head, ha="center", weight="bold")
    for i, (name, title, reads, writes) in enumerate(said):
        for x, text, width, face in ((1.4, reads, 44, "#F2F2F2"), (4.9, title, 34, "#CFE6F5"), (8.5, writes, 46, "#F2F2F2")):
            ax.text(x, -i, (name + "\n" if x == 4.9 else "") + fill(text, width), ha="center", va="center", fontsize=6,
                    linespacing=1.3, bbox={"boxstyle": "round,pad=0.5", "fc": face, "ec": "#777777", "lw": 0.6})
        for start, end in ((3.0, 3.4), (6.4, 6.75)):
            ax.annotate("", (end, -i), (start, -i), arrowprops={"arrowstyle": "->", "lw": 1})
        if i:
            ax.annotate("", (4.9, -i + 0.3), (4.9, -i + 0.68), arrowprops={"arrowstyle": "->", "lw": 1, "color": "#999999"})
    return fig, "The experimental pipeline, from what each script says it reads and writes."


def figure4(tables, artifacts):
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3), sharey=True)
    names, rows = list(MODELS), {name: find(tables["figure4"], model=name) for name in MODELS}
    labels, colours = [model_label(n) for n in names], [COLOURS[n] for n in names]
    bars(left, [rows[n]["accuracy"] for n in names], [PAPER["figure4"][n]["accuracy"] for n in names], labels, "Accuracy", colours)
    f1 = [rows[n]["weighted_f1"] for n in names]
    bars(right, f1, [PAPER["figure4"][n]["weighted_f1"] for n in names], labels, "Weighted F1", colours)
    counts = find(tables["figure1"], split="test")["counts"]
    left.axhline(max(counts) / sum(counts), color="black", ls=":", lw=1.5, label="most frequent class")
    left.legend(frameon=False, fontsize=7)
    return fig, f"Accuracy and weighted F1 on the test split, n = {sum(counts):,}. Bars: ours, 95% intervals; diamonds: the paper."


def figure5(tables, artifacts):
    fig, axes = plt.subplots(1, 2, figsize=(6.8, 3))
    names = list(MODELS)
    for ax, metric, title in zip(axes, ("confidence_drop", "flip_rate"), ("SHAP Confidence Drop@3", "SHAP Flip Rate@3")):
        ours, chance = ([find(tables["table1"], model=n, explainer=e, k=3)[metric] for n in names] for e in ("shap", "random"))
        bars(ax, ours, [PAPER["table1"][n][metric] for n in names], [model_label(n) for n in names], title,
             [COLOURS[n] for n in names], chance)
    fig.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=7, ncols=2, loc="outside lower center")
    return fig, (f"Faithfulness: what removing the top 3 SHAP tokens does, n = {ours[0]['n']} sentences. Dotted: removing "
                 "3 tokens at random. Diamonds: the paper.")


def pair_rows(tables, table, **keys):
    """The paper's pairs, then the controls."""
    rows = [row for row in tables[table] if all(row[k] == v for k, v in keys.items())]
    return [(tuple(row["pair"]), row) for row in rows]


def figure6(tables, artifacts):
    rows = pair_rows(tables, "table2", k=10, explainers=["shap", "shap"])
    fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
    for ax, metric, title in zip(axes, ("jaccard", "overlap"), ("Jaccard@10", "Overlap@10")):
        bars(ax, [row[metric] for _, row in rows], [PAPER["table2"].get(pair, {}).get(metric) for pair, _ in rows],
             [pair_label(pair).replace("–", "–\n") for pair, _ in rows], title,
             ["#0072B2", "#56B4E9", "#CC79A7", *["#999999"] * len(rows)][:len(rows)],
             [row[f"{metric}_by_chance"] for _, row in rows])
    fig.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=7, ncols=2, loc="outside lower center")
    return fig, (f"Agreement of the top 10 SHAP tokens, n = {rows[0][1]['jaccard']['n']} sentences. Dotted: two random sets; "
                 "grey: controls. Diamonds: the paper.")


def figure7(tables, artifacts):
    names = list(MODELS)
    values = np.full((3, 3), np.nan)
    for pair, row in pair_rows(tables, "table3"):
        if set(pair) <= set(names):
            i, j = (names.index(n) for n in pair)
            values[i, j] = values[j, i] = row["cosine"]["mean"] if row["cosine"]["n"] else np.nan
    fig, ax = plt.subplots(figsize=(4.2, 3.4))
    colours = plt.get_cmap("Blues").copy()
    colours.set_bad("#DDDDDD")
    image = ax.imshow(values, cmap=colours, vmin=0, vmax=1)
    for i, j in np.ndindex(3, 3):
        text = "1\n(itself)" if i == j else f"{values[i, j]:.3f}"
        ax.text(j, i, text, ha="center", va="center", color="white" if values[i, j] > 0.6 else "black")
    ax.set_xticks(range(3), [model_label(n) for n in names])
    ax.set_yticks(range(3), [model_label(n) for n in names])
    ax.spines[:].set_visible(False)
    fig.colorbar(image, label="mean cosine")
    return fig, "Mean cosine of signed SHAP attributions, each model for its own predicted class. The diagonal is 1 by definition."


def figure8(tables, artifacts):
    rows = tables["figure8"]
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2))
    for (name, points), marker in zip(rows["points"].items(), "o^s"):
        left.scatter(*np.array(points).T, s=12, alpha=0.6, color=COLOURS[name], marker=marker, label=model_label(name), lw=0)
    left.set(xlabel=f"component 1 ({rows['explained_variance'][0]:.0%} of variance)",
             ylabel=f"component 2 ({rows['explained_variance'][1]:.0%})")
    left.legend(frameon=False, fontsize=7)
    for name in list(MODELS)[1:]:
        angles = [a for a in rows["angle_to_first"][name] if a is not None]
        right.hist(angles, np.arange(0, 181, 15), histtype="step", lw=1.8, color=COLOURS[name],
                   label=f"{model_label(name)}, median {np.median(angles):.0f}°")
    right.set(xlabel="angle to BERT's attributions (degrees)", ylabel="sentences", xticks=range(0, 181, 45))
    right.legend(frameon=False, fontsize=7)
    return fig, (f"Left: unit SHAP vectors, padded to the longest sentence, on their first two principal components (A18, an "
                 f"illustration). Right: the angles themselves. n = {len(rows['angle_to_first']['bert'])} sentences.")


def figure9(tables, artifacts):
    rows = [find(tables["table5"], model=name) for name in MODELS]
    fig, axes = plt.subplots(1, 3, figsize=(7.2, 3.4), sharey=True, sharex=True)
    for ax, row in zip(axes, rows):
        phi = np.array(row["phi"])
        ax.barh(range(len(phi)), phi, color=np.where(phi >= 0, "#0072B2", "#D55E00"))
        ax.axvline(0, color="black", lw=0.6)
        ax.set_yticks(range(len(phi)), row["tokens"])
        ax.set_title(f"{model_label(row['model'])}:\n{LABELS[row['predicted']]}")
    axes[0].invert_yaxis()
    axes[1].set_xlabel("SHAP value for the predicted class")
    return fig, f"Signed SHAP attributions of “{rows[0]['conditions']['Original']['text']}” (n = 1); blue supports the predicted class, red opposes it."


FIGURES = (figure1, figure2, figure3, figure4, figure5, figure6, figure7, figure8, figure9)


# ---------------------------------------------------------------------------------------------------------------------
# Tables

def table1(rows):
    body = []
    for name in dict.fromkeys(row["model"] for row in rows):
        shap, lime, random = (find(rows, model=name, explainer=e, k=3) for e in ("shap", "lime", "random"))
        short = next(row for row in rows if row["model"] == name and "short_token_ratio" in row)
        paper = PAPER["table1"].get(name, {})
        body.append([model_label(name), paper_value(paper.get("confidence_drop")), interval(shap["confidence_drop"], sd=True),
                     number(random["confidence_drop"]["mean"]), paper_value(paper.get("flip_rate")), interval(shap["flip_rate"]),
                     number(random["flip_rate"]["mean"]), paper_value(paper.get("short_token_ratio")),
                     interval(short["short_token_ratio"]), number(short["short_share_of_all_words"]["mean"]),
                     f"{interval(lime['confidence_drop'])}; {interval(lime['flip_rate'])}"])
    n = rows[0]["confidence_drop"]["n"]
    return markdown(["Model", "ConfDrop@3 paper", "ours", "random tokens", "FlipRate@3 paper", "ours", "random tokens",
                     "Short-token paper", "ours", "all words", "LIME: drop; flips"], body) + (
        f"\nn = {n} sentences. Read a drop against *random tokens*: removing any three already costs that much. The short-token "
        "ratio says something only where it differs from the share of short words among *all words*. LIME removes words, "
        "every occurrence of them.\n")


def table2(rows):
    body = []
    for pair, row in [(tuple(r["pair"]), r) for r in rows if r["k"] == 10 and r["explainers"] == ["shap", "shap"]]:
        paper = PAPER["table2"].get(pair, {})
        three = find(rows, pair=list(pair), explainers=["shap", "shap"], k=3)
        body.append([pair_label(pair), paper_value(paper.get("jaccard")), interval(row["jaccard"]),
                     number(row["jaccard_by_chance"]["mean"]), paper_value(paper.get("overlap")), interval(row["overlap"]),
                     number(row["overlap_by_chance"]["mean"]), interval(three["jaccard"]),
                     number(three["jaccard_by_chance"]["mean"])])
    within = [[model_label(r["pair"][0]), r["k"], interval(r["jaccard"]), number(r["jaccard_by_chance"]["mean"]),
               interval(r["overlap"]), number(r["overlap_by_chance"]["mean"])] for r in rows if r["explainers"] == ["shap", "lime"]]
    return markdown(["Pair", "Jaccard@10 paper", "ours", "chance", "Overlap@10 paper", "ours", "chance", "Jaccard@3", "chance"],
                    body) + (
        f"\nn = {row['jaccard']['n']} sentences, {row['n_not_longer_than_k']} of them with at most 10 tokens, where two sets are "
        "equal whatever the models do. *Chance*: two random sets at each sentence's length, exactly. A pair with a retrained "
        "BERT (seed 43) is a ceiling: no student can be expected to agree more with BERT than BERT itself.\n\n"
        "SHAP against LIME within each model, on words (3.7 (2), pair 4; the paper gives no numbers):\n\n") + markdown(
        ["Model", "k", "Jaccard@k", "chance", "Overlap@k", "chance"], within)


def table3(rows):
    return markdown(["Pair", "Cosine paper", "ours", "one class for both", "same prediction", "share of same prediction"], [
        [pair_label(r["pair"]), paper_value(PAPER["table3"].get(tuple(r["pair"]))), interval(r["cosine"], sd=True),
         interval(r["cosine_common_class"], sd=True), interval(r["cosine_same_prediction"], sd=True),
         interval(r["same_prediction"])] for r in rows]) + (
        f"\nn = {rows[0]['cosine']['n']} sentences. The paper's cosine compares each model's own predicted class, so two models that "
        "predict differently are compared on different questions; *one class for both* takes the first model's class.\n")


def table4(rows):
    return markdown(["Model", "Ratio paper", "ours", "equal credit", "ratio > 0.5", "follows clause after “but”",
                     "swaps with the clauses", "less confident without “but”"], [
        [model_label(r["model"]), paper_value(PAPER["table4"].get(r["model"])), interval(r["post_but_ratio"], sd=True),
         number(r["uniform_ratio"]["mean"]), interval(r["ratio_above_half"]), interval(r["follows_second_clause"]),
         interval(r["swaps_with_clauses"]), interval(r["less_confident_without_but"])] for r in rows]) + (
        f"\nn = {rows[0]['follows_second_clause']['n']} sentences. Chance for the ratio is not 0.5 but what *equal credit* to every "
        "token gives. The last three columns are the rates of the paper's three expectations (3.7 (4)).\n")


def table5(rows):
    head, body = ["Condition"], []
    for name in MODELS:
        head += [f"{model_label(name)} paper", "ours"]
    for condition, paper in PAPER["table5"].items():
        line = [condition]
        for name in MODELS:
            ours = find(rows, model=name)["conditions"][condition]
            line += [paper[name], f"{SHORT[ours['polarity']]} ({number(ours['confidence'])})"]
        body.append(line)
    example = find(rows, model="bert")["conditions"]["Original"]["text"]
    return markdown(head, body) + (f"\nOne sentence, n = 1: “{example}” Neg, Neutral and Pos are sums over the five classes (A23). "
                                   "Rates over the whole set stand in Table 4.\n")


def figure4_table(rows):
    body = []
    for r in rows:
        paper = PAPER["figure4"].get(r["model"], {})
        body.append([model_label(r["model"]), paper_value(paper.get("accuracy")), interval(r["accuracy"]),
                     paper_value(paper.get("weighted_f1")), interval(r["weighted_f1"]), interval(r["macro_f1"]),
                     ", ".join(number(f, 2) for f in r["class_f1"])])
    return markdown(["Model", "Accuracy paper", "ours", "Weighted F1 paper", "ours", "Macro F1", "F1 of classes 0–4"], body) + (
        f"\nn = {rows[0]['accuracy']['n']:,} test sentences.\n")


def cases_text(rows):
    lines = []
    for case in rows:
        lines.append(f"**{case['rule']}**, {case['id']}, gold {LABELS[case['label']]}: {case['text']}\n")
        body = []
        for name, row in case["models"].items():
            top = sorted(zip(case["tokens"], row["phi"]), key=lambda t: -abs(t[1]))[:6]
            body.append([model_label(name), f"{LABELS[row['predicted']]} ({number(max(row['probabilities']))})",
                         ", ".join(f"{t} {v:+.3f}" for t, v in top).replace("|", r"\|")])
        lines.append(markdown(["Model", "predicts", "six largest attributions"], body))
    return "\n".join(lines)


def report(tables, artifacts, captions):
    """report.md, top to bottom."""
    stamp, runs = tables["stamp"], read_jsonl(artifacts / "runs.jsonl") if (artifacts / "runs.jsonl").is_file() else []
    timing = read_json(artifacts / "timing.json", "04_evaluate.py")
    latest = {(r["stage"], r["name"]): r for r in runs}
    accuracy = {r["model"]: r["accuracy"]["mean"] for r in tables["figure4"]}

    def figure(i):
        return f"![Figure {i}](figures/figure{i}.png)\n\n*Figure {i}. {captions[i]}*\n"

    parts = [
        "# Faithfulness and Reasoning Drift in Compressed Transformers: what this run found\n",
        f"Commit {stamp['commit']}, device {stamp['device']}, "
        f"{', '.join(f'{k} {v}' for k, v in stamp['versions'].items())}; {runs[-1]['machine'] if runs else ''}.\n\n"
        "Every cell is *paper*, then *ours* with its 95% interval over sentences. Assumptions A1, A2, … are in README.md.\n",
        "## Data (3.1)\n", figure(1), figure(2), "## Pipeline (3.8)\n", figure(3),
        "## Accuracy and F1 (4.1)\n", figure4_table(tables["figure4"]), figure(4),
        "## Table 1. Faithfulness (4.2)\n", table1(tables["table1"]), figure(5),
        "## Table 2. Agreement (4.3)\n", table2(tables["table2"]), figure(6),
        "## Table 3. Direction (4.4)\n", table3(tables["table3"]), figure(7), figure(8),
        "## Table 4. Contrast (4.5)\n", table4(tables["table4"]),
        "## Table 5. The example (4.5)\n", table5(tables["table5"]), figure(9),
        "## Negation (RQ4; the paper gives no numbers)\n",
        markdown(["Model", "affirmed: right polarity", "negated: the other polarity", "probability lost", "share of “not” in |φ|"], [
            [model_label(r["model"]), interval(r["affirmed_right"]), interval(r["negated_is_other_polarity"]),
             interval(r["probability_lost"]), interval(r["share_of_not"])] for r in tables["negation"]]),
        f"\nn = {tables['negation'][0]['affirmed_right']['n']} adjectives.\n",
        "## Buckets (3.7 (5); the paper gives no numbers)\n",
        markdown(["Bucket", "n", "n in test", *(f"cosine, Jaccard@10 {pair_label(p)}" for p in PAIRS)], [
            [r["bucket"], r["n"], r["n_test"], *(
                f"{number(p['cosine']['mean'])}, {number(p['jaccard@10']['mean'])}" + (" (few)" if r["n"] < 10 else "")
                for p in r["pairs"])] for r in tables["buckets"]]),
        "## Case studies (3.7 (6)), picked by rule\n", cases_text(tables["cases"]),
        "## What a model costs (RQ5)\n",
        markdown(["Model", "layers", "parameters", "ms for one sentence", "sentences a second", "accuracy"], [
            [model_label(n), t["layers"], f"{t['parameters'] / 1e6:.1f} M", number(t["milliseconds_alone"], 1),
             f"{t['sentences_per_second']:.0f}", number(accuracy[n])] for n, t in timing.items()]),
        "## How this run went\n",
        markdown(["Stage", "seconds", "peak memory, GB", "finished"], [
            [f"{stage} {name or ''}", r["seconds"], r["peak_memory_gb"], r["finished"]] for (stage, name), r in latest.items()])]
    return "\n".join(parts)


def parse_args(argv=None):
    return cli(__doc__).parse_args(argv)


def main():
    args = parse_args()
    artifacts = Path(args.artifacts)
    made_by = {"table4": "05_probes.py", "table5": "05_probes.py", "negation": "05_probes.py", "cases": "05_probes.py"}
    tables = {}
    for table in ("figure1", "figure4", "table1", "table2", "table3", "figure8", "buckets", "table4", "table5", "negation", "cases"):
        content = read_json(artifacts / "tables" / f"{table}.json", f"{made_by.get(table, '04_evaluate.py')} --artifacts {artifacts}")
        tables[table], tables["stamp"] = content["rows"], content["stamp"]
    (artifacts / "figures").mkdir(exist_ok=True)
    captions = {}
    with plt.rc_context(LAYOUT):
        for i, draw in enumerate(FIGURES, 1):
            fig, captions[i] = draw(tables, artifacts)
            for kind in ("png", "pdf"):
                fig.savefig(artifacts / "figures" / f"figure{i}.{kind}")
            plt.close(fig)
    (artifacts / "report.md").write_text(report(tables, artifacts, captions), encoding="utf-8")
    print(f"wrote {artifacts / 'report.md'}")
    return args


if __name__ == "__main__":
    run(main)
