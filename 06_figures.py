"""Figures 1-9, report.md and explanations.html: the paper's claims judged, its tables beside ours. Files only, never a model.

Reads   tables/*.json, subset.jsonl, explanations/*.shap.jsonl, *.lime.jsonl, probes/*.shap.jsonl, models/*/stamp.json,
        timing.json, runs.jsonl; the docstrings of the six scripts (Figure 3)
Writes  figures/figure1..9.png and .pdf, report.md, explanations.html, tables/claims.json

    python 06_figures.py

Seconds, anywhere. The paper's numbers stand here once, in PAPER, its sentences in CLAIMS; nothing else of the kit knows them.
"""
import ast
from html import escape
from pathlib import Path
from textwrap import fill, shorten

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from common import (LABELS, MAKES_MODEL, MODELS, PAIRS, SPLITS, claim, cli, cosine, differences, digest, load_explanations, load_subset, own_class,
                    paired, read_json, read_jsonl, resumable, run, stamp_salt, stop, weights_of, whole, write_json)

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
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def find(rows, **keys):
    """The first row of a table with these values."""
    return next(row for row in rows if all(row[k] == v for k, v in keys.items()))


# ---------------------------------------------------------------------------------------------------------------------
# Figures

def bars(ax, rows, paper, names, title, colours, chance=(), ceiling=None):
    """Ours as bars with 95% intervals, the paper's as diamonds, chance as a dotted line across each bar, a ceiling dashed."""
    x = np.arange(len(names))
    means = np.array([row["mean"] for row in rows], dtype=float)
    low, high = (np.array([row[end] for row in rows], dtype=float) for end in ("low", "high"))
    ax.bar(x, means, color=colours, width=0.62, yerr=np.maximum(0, [means - low, high - means]), capsize=3, error_kw={"lw": 1})
    ax.plot(x, [p[0] if isinstance(p, tuple) else p for p in paper], "D", color="white", markeredgecolor="black", ms=5,
            clip_on=False, zorder=5, label="paper")
    for i, c in enumerate(chance):
        ax.hlines(c["mean"], i - 0.4, i + 0.4, color="black", ls=":", lw=1.5, label="chance" if i == 0 else None)
    if ceiling:
        ax.axhline(ceiling["mean"], color="black", ls="--", lw=1, label="BERT with itself retrained")
    ax.set_xticks(x, names)
    ax.set_title(title)
    ax.axhline(0, color="black", lw=0.6)


def figure1(tables, artifacts):
    """Label distribution of the whole data set (A1), by split."""
    fig, ax = plt.subplots(figsize=(6.2, 3))
    base = np.zeros(len(LABELS))
    for split, colour in zip(SPLITS, ("#56B4E9", "#CC79A7", "#999999")):
        counts = np.array(find(tables["figure1"], split=split)["counts"])
        ax.bar([label.replace(" ", "\n") for label in LABELS], counts, bottom=base, color=colour, label=f"{split} ({counts.sum():,})", width=0.7)
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
        cell.PAD = 0.02
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
    rows, counts = [find(tables["figure4"], model=name) for name in MODELS], find(tables["figure1"], split="test")["counts"]
    for ax, metric, title in ((left, "accuracy", "Accuracy"), (right, "weighted_f1", "Weighted F1")):
        bars(ax, [row[metric] for row in rows], [PAPER["figure4"][n][metric] for n in MODELS], MODELS.values(), title, COLOURS.values())
    left.axhline(max(counts) / sum(counts), color="black", ls=":", lw=1.5, label="most frequent class")
    fig.legend(*left.get_legend_handles_labels(), frameon=False, fontsize=8, ncols=2, loc="outside lower center")
    return fig, f"Accuracy and weighted F1 on the test split, n = {sum(counts):,}; bars with 95% intervals. Diamonds: the paper."


def figure5(tables, artifacts):
    fig, axes = plt.subplots(1, 2, figsize=(6.8, 3))
    rows = [find(tables["table1"], model=n, explainer="shap", k=3) for n in MODELS]
    for ax, metric, random, title in ((axes[0], "confidence_drop", "random_drop", "SHAP Confidence Drop@3"),
                                      (axes[1], "flip_rate", "random_flips", "SHAP Flip Rate@3")):
        bars(ax, [row[metric] for row in rows], [PAPER["table1"][n][metric] for n in MODELS], MODELS.values(), title,
             COLOURS.values(), [row[random] for row in rows])
    fig.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=2, loc="outside lower center")
    return fig, (f"Faithfulness: what removing the top 3 SHAP tokens does, n = {rows[0]['flip_rate']['n']} sentences; bars with 95% "
                 "intervals. Dotted: removing 3 tokens at random. Diamonds: the paper.")


def ceiling(rows, key, **keys):
    """BERT against itself retrained, where the run has it: what a pair can reach."""
    return next((row[key] for row in rows if row["pair"] == ["bert", "bert_seed43"]
                 and all(row[k] == v for k, v in keys.items())), None)


def figure6(tables, artifacts):
    rows = [find(tables["table2"], pair=list(pair), k=10) for pair in PAIRS]
    fig, axes = plt.subplots(1, 2, figsize=(6.8, 3.2), sharey=True)
    for ax, metric, title in zip(axes, ("jaccard", "overlap"), ("Jaccard@10", "Overlap@10")):
        bars(ax, [row[metric] for row in rows], [PAPER["table2"][pair][metric] for pair in PAIRS],
             [pair_label(pair).replace("–", "–\n") for pair in PAIRS], title, ["#0072B2", "#56B4E9", "#CC79A7"],
             [row[f"{metric}_by_chance"] for row in rows], ceiling(tables["table2"], metric, k=10))
    fig.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=3, loc="outside lower center")
    return fig, (f"Agreement of the top 10 SHAP tokens, n = {rows[0]['jaccard']['n']} sentences; bars with 95% intervals. Dotted: two "
                 "random sets. Dashed: BERT with itself retrained. Diamonds: the paper.")


def figure7(tables, artifacts):
    values, text = np.full((3, 3), np.nan), np.full((3, 3), "1\n(itself)", dtype=object)
    for pair in PAIRS:
        i, j = (list(MODELS).index(name) for name in pair)
        s = find(tables["table3"], pair=list(pair))["cosine"]
        values[i, j] = values[j, i] = s["mean"]
        text[i, j] = text[j, i] = f"{s['mean']:.2f}\n[{s['low']:.2f}, {s['high']:.2f}]"
    fig, ax = plt.subplots(figsize=(4.6, 3.6))
    colours = plt.get_cmap("Blues").with_extremes(bad="#DDDDDD")
    image = ax.imshow(values, cmap=colours, vmin=0, vmax=1)
    for i, j in np.ndindex(3, 3):
        ax.text(j, i, text[i, j], ha="center", va="center", color="white" if values[i, j] > 0.6 else "black")
    ax.set_xticks(range(3), MODELS.values())
    ax.set_yticks(range(3), MODELS.values())
    ax.spines[:].set_visible(False)
    fig.colorbar(image, label="mean cosine")
    retrained = ceiling(tables["table3"], "cosine")
    return fig, (f"Mean cosine of signed SHAP attributions with 95% intervals, n = {s['n']} sentences, each model for its own predicted "
                 "class. The diagonal is 1 by definition" + (f"; BERT with itself retrained reaches {retrained['mean']:.2f}." if retrained else "."))


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
    return fig, (f"Signed SHAP attributions of “{rows[0]['conditions']['Original']['text']}” (n = 1); blue supports the predicted "
                 "class, red opposes it.")


FIGURES = (figure1, figure2, figure3, figure4, figure5, figure6, figure7, figure8, figure9)


# ---------------------------------------------------------------------------------------------------------------------
# Tables: the paper's rows and columns first, then what each number has to be read against

NEAR = 0.05


def ours(paper, s, sd=False):
    """Our cell, with how it stands to the paper's: match, the paper's value lies in our 95% interval; near, within 0.05 of
    ours; differs."""
    value = paper[0] if isinstance(paper, tuple) else paper
    if value is None or not s["n"]:
        return interval(s, sd=sd)
    mark = "match" if s["low"] <= value <= s["high"] else "near" if abs(value - s["mean"]) <= NEAR else "differs"
    return f"{interval(s, sd=sd)} *{mark}*"


def view(rows, columns):
    """A Markdown table: columns is {header: row -> cell}."""
    return markdown(list(columns), [[cell(row) for cell in columns.values()] for row in rows])


def cell(key, sd=False, digits=3):
    """A column that shows the interval of one summary."""
    return lambda row: interval(row[key], digits, sd) if row.get(key) else "–"


def mean(key, digits=3):
    return lambda row: number(row[key]["mean"], digits)


def model_of(row):
    return model_label(row["model"])


def pair_of(row):
    return pair_label(row["pair"])


def p_value(p):
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def difference(key):
    """A paired difference with its interval and p."""
    return lambda row: f"{interval(row[key])}, p {p_value(row[key]['p'])}" if row.get(key) and row[key]["n"] else "–"


def paper_pair(table, row, key=None):
    value = PAPER[table].get(tuple(row["pair"]))
    return value if key is None or value is None else value[key]


def figure4_table(t):
    paper = PAPER["figure4"]
    return view(t["figure4"], {
        "Model": model_of,
        "Accuracy paper": lambda r: paper_value(paper.get(r["model"], {}).get("accuracy")),
        "ours": lambda r: ours(paper.get(r["model"], {}).get("accuracy"), r["accuracy"]),
        "Weighted F1 paper": lambda r: paper_value(paper.get(r["model"], {}).get("weighted_f1")),
        "ours ": lambda r: ours(paper.get(r["model"], {}).get("weighted_f1"), r["weighted_f1"]),
        "Macro F1": cell("macro_f1"), "F1 of classes 0–4": lambda r: ", ".join(number(f, 2) for f in r["class_f1"]),
        "ECE": lambda r: number(r["ece"])}) + (
        f"\nn = {t['figure4'][0]['accuracy']['n']:,} test sentences. ECE is the calibration error (10 bins): read a Confidence Drop "
        "of an over-confident model with it in mind.\n")


def table1(t):
    paper, shap = PAPER["table1"], [r for r in t["table1"] if r["explainer"] == "shap" and r["k"] == 3]
    short = {r["model"]: r for r in t["table1"] if "short_token_ratio" in r}
    others = [r for r in t["table1"] if r["model"] in MODELS and not (r["explainer"] == "shap" and r["k"] == 3)]
    return view(shap, {
        "Model": model_of,
        "ConfDrop@3 paper": lambda r: paper_value(paper.get(r["model"], {}).get("confidence_drop")),
        "ours": lambda r: ours(paper.get(r["model"], {}).get("confidence_drop"), r["confidence_drop"], sd=True),
        "random 3": mean("random_drop"), "lift": cell("lift"),
        "FlipRate@3 paper": lambda r: paper_value(paper.get(r["model"], {}).get("flip_rate")),
        "ours ": lambda r: ours(paper.get(r["model"], {}).get("flip_rate"), r["flip_rate"]),
        "random 3 ": mean("random_flips"), "lift ": cell("flip_lift"),
        "Short-token paper": lambda r: paper_value(paper.get(r["model"], {}).get("short_token_ratio")),
        "ours  ": lambda r: ours(paper[r["model"]]["short_token_ratio"], short[r["model"]]["short_token_ratio"]) if r["model"] in short
        else "–", "all words": lambda r: number(short[r["model"]]["short_share_of_all_words"]["mean"]) if r["model"] in short else "–",
    }) + (
        f"\nn = {shap[0]['confidence_drop']['n']} sentences. How to read it: *random 3* is what removing any three tokens does (5 draws a "
        "sentence), *lift* the paired difference; only the lift speaks of the explanation. The short-token ratio says something "
        "only where it differs from the share of short words among *all words*.\n\nThe other k, and LIME (which removes words, "
        "every occurrence of them, against random words):\n\n") + view(others, {
            "Model": model_of, "explainer": lambda r: r["explainer"].upper(), "k": lambda r: r["k"],
            "ConfDrop": cell("confidence_drop", sd=True), "lift": cell("lift"), "FlipRate": cell("flip_rate"),
            "lift ": cell("flip_lift"), "left empty": lambda r: r["n_emptied"]})


def table2(t):
    rows = [r for r in t["table2"] if r["explainers"] == ["shap", "shap"]]
    ten, within = [r for r in rows if r["k"] == 10], [r for r in t["table2"] if r["explainers"] == ["shap", "lime"]]
    return view(ten, {
        "Pair": pair_of,
        "Jaccard@10 paper": lambda r: paper_value(paper_pair("table2", r, "jaccard")),
        "ours": lambda r: ours(paper_pair("table2", r, "jaccard"), r["jaccard"]), "chance": mean("jaccard_by_chance"),
        "Overlap@10 paper": lambda r: paper_value(paper_pair("table2", r, "overlap")),
        "ours ": lambda r: ours(paper_pair("table2", r, "overlap"), r["overlap"]), "chance ": mean("overlap_by_chance"),
        "Jaccard over chance": cell("jaccard_corrected"), "drift (seed ceiling − pair)": difference("drift")}) + (
        f"\nn = {ten[0]['jaccard']['n']} sentences, {ten[0]['n_not_longer_than_k']} of them with at most 10 tokens, where two sets are "
        "equal whatever the models do; *over chance* leaves these out and is 0 for random sets, 1 for equal ones. A pair with a "
        "retrained BERT (another seed) is the ceiling: a student has drifted only where *drift* lies above 0.\n\n"
        "At every k, for other choices of the class (*one class*: BERT’s for both; the polarity score, which asks none), and over ties:\n\n"
    ) + view(rows, {
        "Pair": pair_of, "k": lambda r: r["k"], "Jaccard": cell("jaccard"), "chance": mean("jaccard_by_chance"),
        "over chance": cell("jaccard_corrected"), "one class for both": cell("jaccard_common_class"),
        "polarity": cell("jaccard_polarity"), "same prediction": cell("jaccard_same_prediction"),
        "other prediction": cell("jaccard_other_prediction"), "tied at k": mean("tied", 2), "mean over ties": mean("jaccard_over_ties")}) + (
        "\nSHAP against LIME within each model, on words (3.7 (2), pair 4; the paper gives no numbers):\n\n") + view(within, {
            "Model": lambda r: model_label(r["pair"][0]), "k": lambda r: r["k"], "Jaccard": cell("jaccard"),
            "chance": mean("jaccard_by_chance"), "over chance": cell("jaccard_corrected")})


def table3(t):
    return view(t["table3"], {
        "Pair": pair_of, "Cosine paper": lambda r: paper_value(paper_pair("table3", r)),
        "ours, own class": lambda r: ours(paper_pair("table3", r), r["cosine"], sd=True),
        "one class for both": cell("cosine_common_class", sd=True), "polarity": cell("cosine_polarity", sd=True),
        "same prediction": cell("cosine_same_prediction", sd=True), "other prediction": cell("cosine_other_prediction", sd=True),
        "share of same": mean("same_prediction", 2), "drift, own class": difference("drift"),
        "drift, polarity": difference("drift_polarity")}) + (
        f"\nn = {t['table3'][0]['cosine']['n']} sentences. How to read it: the paper’s cosine compares each model for its own predicted "
        "class, so two models that predict differently are compared on different questions; *polarity* asks both for the expected "
        "class, Σ (c − 2) p_c. Two pairs differ in reasoning only if they differ there.\n")


def table4(t):
    credit = {r["model"]: r for r in t["credit"]}
    return view(t["table4"], {
        "Model": model_of, "Ratio paper": lambda r: paper_value(PAPER["table4"].get(r["model"])),
        "ours": lambda r: ours(PAPER["table4"].get(r["model"]), r["post_but_ratio"], sd=True),
        "equal credit": mean("uniform_ratio"), "ratio − equal credit": lambda r: interval(credit[r["model"]]["ratio_minus_uniform"]),
        "SD / BERT’s SD": lambda r: interval(credit[r["model"]]["sd_ratio_to_bert"], 2),
        "follows clause after “but”": cell("follows_second_clause"), "swaps with the clauses": cell("swaps_with_clauses"),
        "less confident without “but”": cell("less_confident_without_but")}) + (
        f"\nn = {t['table4'][0]['follows_second_clause']['n']} sentences. Chance for the ratio is not 0.5 but what *equal credit* to "
        "every token gives. The last three columns are the rates of the paper’s three expectations (3.7 (4)).\n")


def table5(t):
    head, body = ["Condition"], []
    for name in MODELS:
        head += [f"{model_label(name)} paper", "ours"]
    for condition, paper in PAPER["table5"].items():
        line = [condition]
        for name in MODELS:
            said = find(t["table5"], model=name)["conditions"][condition]
            mark = "match" if paper[name].startswith(SHORT[said["polarity"]] + " ") else "differs"
            line += [paper[name], f"{SHORT[said['polarity']]} ({number(said['confidence'])}) *{mark}*"]
        body.append(line)
    text = find(t["table5"], model="bert")["conditions"]["Original"]["text"]
    return markdown(head, body) + (f"\nOne sentence, n = 1: “{text}” Neg, Neutral and Pos are sums over the five classes (A23); "
                                   "*match* is the same one of the three. Rates over the whole set stand in Table 4.\n")


def control_tables(t):
    """[(title, how to read it, table)] of what the paper does not have."""
    of_models, of_pairs = ([r for r in t["sensitivity"] if kind in r] for kind in ("model", "pair"))
    overall = [r for r in t["contrast"] if r["frame"] == "all" and r["model"] in MODELS]
    return [
        ("What “remove” means", "Confidence Drop@3 and Flip Rate@3 of SHAP’s top 3 under four meanings of removal. A ranking of the "
         "models that changes from one to the next is a property of the mask.", view(t["removal"], {
             "Model": model_of, "operator": lambda r: r["operator"], "ConfDrop@3": cell("confidence_drop"), "lift": cell("lift"),
             "rank": lambda r: r["rank"] or "–", "FlipRate@3": cell("flip_rate"), "lift ": cell("flip_lift"),
             "margin p₁ − p₂": mean("margin")})),
        ("How SHAP is run", "The same sentences with shap’s own reference ([MASK]), and with evaluations enough to finish every "
         "sentence; *change* is against the paper’s setting, paired.", (view(of_models, {
             "Setting": lambda r: r["variant"], "Model": model_of, "ConfDrop@3": cell("confidence_drop"),
             "change": cell("drop_change"), "FlipRate@3": cell("flip_rate"), "top 10 kept (Jaccard)": cell("top10_kept")}) + "\n" + view(
             of_pairs, {"Setting": lambda r: r["variant"], "Pair": pair_of, "Jaccard@10": cell("jaccard"),
                        "change": cell("jaccard_change"), "Cosine": cell("cosine"), "change ": cell("cosine_change")})
             + f"\nn = {of_models[0]['confidence_drop']['n']} sentences.\n") if of_models else "Not in this run.\n"),
        ("LIME against itself", "Jaccard of the top words over five seeds: agreement with anything else cannot be expected to be "
         "higher. R² says how well the linear surrogate fits.", view(t["lime_noise"], {
             "Model": model_of, "Jaccard@3": cell("jaccard@3"), "Jaccard@10": cell("jaccard@10"), "R²": cell("r2")})),
        ("Fidelity", "How much of BERT’s outputs a model keeps on the test split, beside how much of its explanations.", view(
            t["fidelity"], {"Model": model_of, "same class as BERT": cell("same_class"), "KL from BERT, nats": cell("kl"),
                            "polarity cosine": cell("cosine_polarity"), "Jaccard@10": cell("jaccard")})),
        ("One thing changed at a time", "Two students that differ in initialisation, objective or seed alone: first − second. Only "
         "here do initialisation and objective come apart.", view(t["design"], {
             "First": lambda r: model_label(r["first"]), "Second": lambda r: model_label(r["second"]),
             "they differ in": lambda r: f"{r['differ_in']}: " + ", ".join(
                 str(m[("initialisation", "objective", "seed").index(r["differ_in"])]) for m in r["made"]),
             "accuracy": difference("accuracy"), "polarity cosine with BERT": difference("cosine_polarity_with_bert"),
             "own-class cosine": difference("cosine_with_bert"), "Jaccard@10": difference("jaccard_with_bert")})),
        ("Contrast under other words", "All frames. The ruling clause is the second, under “although” the first. A model with a rule "
         "for “but” follows it more often than the second clause under “and”, a comma or nothing.", view(overall, {
             "Model": model_of, "connective": lambda r: r["connective"], "follows the ruling clause": cell("follows_ruling_clause"),
             "swaps with the clauses": cell("swaps_with_clauses"), "p of the second clause’s polarity": cell("p_second_clause"),
             "less that under “but”": cell("p_second_minus_but")}) + f"\nn = {overall[0]['p_second_clause']['n']} sentences.\n"),
        ("Whose credit", "The post-but ratio for the mean |φ| a token, for the two adjectives alone, and by the exact Shapley value of "
         "three players (before, “but”, after) that owes nothing to shap’s tree; each less the same under “and”. “but” × after is what “but” "
         "adds to the second clause, before × “but” what it takes from the first.", view(t["credit"], {
             "Model": model_of, "length-normalised": cell("length_normalised_ratio"), "adjectives alone": cell("adjective_ratio"),
             "three players": cell("shapley_ratio"), "“but” itself": cell("shapley_but"), "“but” × after": cell("interaction"),
             "before × “but”": cell("interaction_with_pre"),
             "ratio, but − and": cell("post_but_ratio_but_minus_and"), "adjectives, but − and": cell("adjective_ratio_but_minus_and"),
             "three players, but − and": cell("shapley_ratio_but_minus_and")})),
        ("Contrast, found", "The same on test sentences with one “but” between two clauses; what a clause says is what the model says "
         "of it alone.", view(t["found"], {
             "Model": model_of, "n": lambda r: r["n_found"], "accuracy": cell("accuracy"), "clauses opposed": cell("clauses_opposed"),
             "follows the second": cell("follows_second_clause"), "follows the first": cell("follows_first_clause"),
             "post-but ratio": cell("post_but_ratio"), "equal credit": mean("uniform_ratio"), "three players": cell("shapley_ratio")})),
        ("Negation", "RQ4 promises it and the paper shows nothing. MFT: the right polarity; INV: what is out of scope or neutral leaves "
         "the prediction; DIR: p of the adjective’s polarity falls (rises under a double negation).", view([r for r in t["negation"] if r["model"] in MODELS], {
             "Model": model_of, "condition": lambda r: r["condition"], "MFT": cell("minimum_functionality", digits=2),
             "INV": cell("invariance", digits=2), "DIR": cell("direction", digits=2), "p lost": cell("probability_lost", digits=2),
             "|φ| on the negator": mean("share_of_not", 2), "by chance": mean("not_in_sentence", 2)})),
        ("Which words carry it", "Shares of |φ| and of the top 3 on function words and on polarity words (learned from the training "
         "text), against the share of such words in the sentence.", view(t["words"], {
             "Model": model_of, "set": lambda r: r["set"], "function words: |φ|": cell("function_share", digits=2),
             "top 3": cell("function_top3", digits=2), "in the sentence": mean("function_in_sentence", 2),
             "|φ| − BERT’s": cell("function_share_minus_bert"), "polarity words: |φ|": cell("polarity_share", digits=2),
             "top 3 ": cell("polarity_top3", digits=2), "in the sentence ": mean("polarity_in_sentence", 2),
             "|φ| − BERT’s ": cell("polarity_share_minus_bert")})),
        ("Right, and why", "Right for the wrong reason: the label is right and none of the three largest |φ| lies on a polarity word (in "
         "a template: on the second adjective).", view(t["reasons"], {
             "Model": model_of, "set": lambda r: r["set"], "right, on polarity": lambda r: r["right_on_polarity"],
             "right, elsewhere": lambda r: r["right_elsewhere"], "wrong, on polarity": lambda r: r["wrong_on_polarity"],
             "wrong, elsewhere": lambda r: r["wrong_elsewhere"], "no such word": lambda r: r["n_without_polarity_word"],
             "right for the wrong reason": cell("right_for_wrong_reason"), "by chance": mean("by_chance")}) + "\n" + view(
             [r for r in t["reasons_paired"] if K in r["pair"]], {"Pair": pair_of, "set": lambda r: r["set"], "first": mean("first"), "second": mean("second"),
                                   "first − second": difference("difference"), "p, Holm": lambda r: p_value(r["p_holm"])})),
        ("Every comparison the paper makes in words", "Paired over sentences: sign-flip permutation, McNemar’s exact test for rates; Holm over "
         "a family: 4.1 to 4.4 together, 4.5, and the controls. *smallest*: the difference that n sentences show with power 80%.", view(t["comparisons"], {
             "Section": lambda r: r["section"], "measure": lambda r: r["measure"].replace("_", " "),
             "first − second": lambda r: " − ".join(pair_label(x) if isinstance(x, list) else model_label(x)
                                                     for x in (r["first"], r["second"])),
             "difference": interval, "p": lambda r: p_value(r["p"]), "p, Holm": lambda r: p_value(r["p_holm"]),
             "d_z": lambda r: number(r["d_z"], 2), "smallest": lambda r: number(r["smallest"]), "n": lambda r: r["n"]})),
    ]


def cases_text(rows):
    lines = []
    for case in rows:
        lines.append(f"**{case['rule']}**, [{case['id']}](explanations.html#{case['id']}), gold {LABELS[case['label']]}: {case['text']}\n")
        body = []
        for name, row in case["models"].items():
            top = sorted(zip(case["tokens"], row["phi"]), key=lambda t: -abs(t[1]))[:6]
            body.append([model_label(name), f"{LABELS[row['predicted']]} ({number(max(row['probabilities']))})",
                         ", ".join(f"{t} {v:+.3f}" for t, v in top)])
        lines.append(markdown(["Model", "predicts", "six largest attributions"], body))
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------------
# Claims: every sentence of the paper that can be checked, in its order, with the rule that judges it
#
# A rule is a list of demands: (what, where to find it, low, high). A demand is met when the 95% interval lies inside
# (low, high), missed when it lies outside, and undecided otherwise. Signs and orders are demanded, not digits.

B, D, K = MODELS
BD, BK, DK = PAIRS
INF = float("inf")
HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "can't be told at this n", "not tested here"


def exact(value, n=1):
    """A number without an interval, as a summary."""
    return {"mean": value, "low": value, "high": value, "n": n}


def own(value):
    """A number of the paper's own tables."""
    return lambda t: exact(value)


def look(table, key, **keys):
    """One summary of the one row with these values; None where this run has no such row."""
    def get(t):
        row = next((row for row in t[table] if key in row and all(row.get(k) == v for k, v in keys.items())), None)
        value = row and row.get(key)
        return value if value is None or isinstance(value, dict) else exact(value)
    return get


def turned(s):
    """The same paired difference the other way round."""
    return s if not s or not s["n"] else s | {"mean": 0 - s["mean"], "low": 0 - s["high"], "high": 0 - s["low"]}


def less(measure, first, second):
    """first - second, a paired difference of comparisons.json, whichever way round it stands there. Models or pairs."""
    first, second = (list(x) if isinstance(x, tuple) else x for x in (first, second))

    def get(t):
        rows = {(str(r["first"]), str(r["second"])): r for r in t["comparisons"] if r["measure"] == measure}
        return rows.get((str(first), str(second))) or turned(rows.get((str(second), str(first))))
    return get


def by_objective(measure, student=K):
    """A distilled student less one of the same start trained on gold labels alone (design.json)."""
    def get(t):
        for row in t["design"]:
            for mine, other in ((0, 1), (1, 0)):
                if row["differ_in"] == "objective" and (row["first"], row["second"])[mine] == student and row["made"][other][1] == "CE":
                    return turned(row[measure]) if mine else row[measure]
        return None
    return get


def reason(which, first, second):
    """Rate of the wrong reason among right labels, first - second, on sentences both get right (reasons_paired.json)."""
    def get(t):
        rows = {tuple(r["pair"]): r["difference"] for r in t["reasons_paired"] if r["set"] == which}
        return rows.get((first, second)) or turned(rows.get((second, first)))
    return get


def example(condition, polarity):
    """How many of the three models give the example this polarity (Table 5)."""
    return lambda t: exact(sum(look_example(t, m, condition) == polarity for m in MODELS))


def look_example(t, model, condition):
    return find(t["table5"], model=model)["conditions"][condition]["polarity"]


def shape(key, models=(B, D, K)):
    """Layers or millions of parameters, where the models are the paper's (BERT-base has 109.5 M); else not tested."""
    def get(t):
        full = abs(t["timing"][B]["parameters"] / 1e6 - 110) < 2
        return exact(t["timing"][models]["layers" if key == "layers" else "parameters"] / (1 if key == "layers" else 1e6)) if full else None
    return get


def of_sst5(value):
    """A number without an interval, where the text is SST-5 by its size; else not tested."""
    return lambda t: exact(value(t)) if counts(t).sum() == sum(SPLITS.values()) else None


def counts(t):
    return np.sum([row["counts"] for row in t["figure1"] if row["split"] in SPLITS], 0)


CLAIMS = (  # section, the paper's words, evidence, demands
    ("Abstract", "compressed transformer models often match the accuracy of their larger counterparts", "Figure 4", [
        ("accuracy, DistilBERT − BERT", less("accuracy", D, B), -0.03, INF), ("KD − BERT", less("accuracy", K, B), -0.03, INF)]),
    ("Abstract", "DistilBERT remains closest to BERT in both output and reasoning patterns", "Tables 2, 3, Fidelity", [
        ("Jaccard@10, BERT–DistilBERT − BERT–KD", less("jaccard", BD, BK), 0, INF),
        ("cosine, the same", less("cosine", BD, BK), 0, INF),
        ("predictions shared with BERT, DistilBERT − KD", less("same_class", D, K), 0, INF)]),
    ("Abstract", "TinyBERT … despite reaching accuracy similar to BERT", "Figure 4", [
        ("accuracy, KD − BERT", less("accuracy", K, B), -0.03, 0.03)]),
    ("Abstract", "[TinyBERT's] directional similarity is substantially lower", "Table 3", [
        ("cosine, BERT–DistilBERT − BERT–KD", less("cosine", BD, BK), 0, INF)]),
    ("Abstract", "its token-level attributions often highlight neutral tokens instead of sentiment-bearing ones", "words.json", [
        ("KD's top 3 on polarity words, less their share of the sentence",
         look("words", "polarity_top3_minus_chance", model=K, set="subset"), -INF, 0)]),
    ("Abstract", "Based on the contrastive probe, TinyBERT frequently arrives at the correct label but does so for the wrong reasons",
     "reasons.json", [("right label, evidence elsewhere, KD − BERT, templates", reason("templates", K, B), 0, INF)]),
    ("Abstract", "compression can preserve predictions while quietly altering the internal reasoning", "Figure 4, Table 3", [
        ("accuracy, KD − BERT", less("accuracy", K, B), -0.03, INF),
        ("polarity cosine, seed ceiling − BERT–KD", look("table3", "drift_polarity", pair=list(BK)), 0, INF)]),
    ("3.1", "The original dataset leans slightly toward the neutral and negative classes", "Figure 1", [
        ("negative − positive sentences", of_sst5(lambda t: counts(t)[:2].sum() - counts(t)[3:].sum()), 0, INF),
        ("neutral − a fifth of all", of_sst5(lambda t: counts(t)[2] - counts(t).sum() / 5), 0, INF)]),
    ("3.2", "BERT-base-uncased … is a 12-layer, 110M-parameter encoder", "What a model costs", [
        ("layers", shape("layers", B), 11.5, 12.5), ("million parameters", shape("parameters", B), 108, 112)]),
    ("3.2", "DistilBERT … is a 6-layer, 66M-parameter variant", "What a model costs", [
        ("layers", shape("layers", D), 5.5, 6.5), ("million parameters", shape("parameters", D), 65, 68)]),
    ("3.2", "[TinyBERT] contains approximately 66M parameters … half the number of encoder layers", "What a model costs", [
        ("layers", shape("layers", K), 5.5, 6.5), ("million parameters", shape("parameters", K), 65, 68)]),
    ("3.3", "a maximum length of 256 tokens, which is sufficient for all SST-5 sentences", "figure1.json", [
        ("longest sentence, tokens", of_sst5(lambda t: max(r["longest"] for r in t["figure1"])), 0, 256.5)]),
    ("3.5", "training it with ordinary fine-tuning would remove the distillation signal and degrade performance", "design.json", [
        ("accuracy, KD − gold labels alone, same start", by_objective("accuracy"), 0, INF)]),
    ("3.7", "Lower agreement indicates greater reasoning drift", "Table 2", [
        ("Jaccard@10 of BERT with itself retrained", look("table2", "jaccard", pair=[B, "bert_seed43"], k=10), 0.9, INF)]),
    ("4.1", "BERT, DistilBERT, and … TinyBERT model achieve broadly similar performance", "Figure 4", [
        ("accuracy, DistilBERT − BERT", less("accuracy", D, B), -0.05, 0.05), ("KD − BERT", less("accuracy", K, B), -0.05, 0.05),
        ("KD − DistilBERT", less("accuracy", K, D), -0.05, 0.05)]),
    ("4.1", "TinyBERT attains the highest accuracy (0.541), marginally outperforming BERT (0.538)", "Figure 4", [
        ("accuracy, KD − BERT", less("accuracy", K, B), 0, INF), ("KD − DistilBERT", less("accuracy", K, D), 0, INF)]),
    ("4.1", "despite having a much smaller parameter footprint", "What a model costs", [
        ("million parameters of KD", shape("parameters", K), 0, 55)]),
    ("4.1", "TinyBERT does not meaningfully surpass the teacher in weighted F1", "Figure 4", [
        ("weighted F1, KD − BERT", look("figure4", "weighted_f1_minus_bert", model=K), -INF, 0.02)]),
    ("4.1", "DistilBERT performs worst among the three models", "Figure 4", [
        ("accuracy, BERT − DistilBERT", less("accuracy", B, D), 0, INF), ("KD − DistilBERT", less("accuracy", K, D), 0, INF)]),
    ("4.2", "DistilBERT shows the largest confidence drop, followed by BERT, while KD-TinyBERT exhibits the smallest drop", "Table 1", [
        ("ConfDrop@3, DistilBERT − BERT", less("confidence_drop", D, B), 0, INF),
        ("BERT − KD", less("confidence_drop", B, K), 0, INF)]),
    ("4.2", "BERT and DistilBERT both have substantial flip rates", "Table 1", [
        ("FlipRate@3, BERT", look("table1", "flip_rate", model=B, explainer="shap", k=3), 0.25, INF),
        ("DistilBERT", look("table1", "flip_rate", model=D, explainer="shap", k=3), 0.25, INF)]),
    ("4.2", "KD-TinyBERT’s flip rate is effectively zero", "Table 1", [
        ("FlipRate@3, KD", look("table1", "flip_rate", model=K, explainer="shap", k=3), -INF, 0.05)]),
    ("4.2", "BERT and DistilBERT … masking a few top-ranked tokens often reduces confidence", "Table 1", [
        ("drop less that of random tokens, BERT", look("table1", "lift", model=B, explainer="shap", k=3), 0, INF),
        ("DistilBERT", look("table1", "lift", model=D, explainer="shap", k=3), 0, INF)]),
    ("4.2", "… the average confidence drop [of KD-TinyBERT] is much smaller", "Table 1", [
        ("ConfDrop@3, BERT − KD", less("confidence_drop", B, K), 0, INF), ("DistilBERT − KD", less("confidence_drop", D, K), 0, INF),
        ("the same less that of random tokens, BERT − KD", less("lift", B, K), 0, INF)]),
    ("4.2", "masking the same number of top tokens rarely changes the decision [of KD-TinyBERT]", "Table 1", [
        ("FlipRate@3, BERT − KD", less("flip_rate", B, K), 0, INF), ("DistilBERT − KD", less("flip_rate", D, K), 0, INF)]),
    ("4.2", "The short-token ratios are very similar across all three models", "Table 1", [
        ("DistilBERT − BERT", less("short_token_ratio", D, B), -0.05, 0.05), ("KD − BERT", less("short_token_ratio", K, B), -0.05, 0.05),
        ("KD − DistilBERT", less("short_token_ratio", K, D), -0.05, 0.05)]),
    ("4.2", "KD-TinyBERT’s weakness is not due to over-reliance on subword fragments", "Table 1", [
        ("short-token ratio less the share of short words, KD", look("table1", "short_lift", model=K), -INF, 0.02)]),
    ("4.3", "Agreement is moderate for all pairs", "Table 2", [
        (f"chance-corrected Jaccard@10, {pair_label(p)}", look("table2", "jaccard_corrected", pair=list(p), k=10), 0, 0.75) for p in PAIRS]),
    ("4.3", "DistilBERT remains closer to its teacher (BERT) than KD-TinyBERT", "Table 2", [
        ("Jaccard@10, BERT–DistilBERT − BERT–KD", less("jaccard", BD, BK), 0, INF)]),
    ("4.3", "KD-TinyBERT exhibits the lowest similarity", "Table 2", [
        ("Jaccard@10, BERT–DistilBERT − BERT–KD", less("jaccard", BD, BK), 0, INF),
        ("BERT–DistilBERT − DistilBERT–KD", less("jaccard", BD, DK), 0, INF)]),
    ("4.3", "… indicating clear reasoning drift", "Table 2", [
        ("Jaccard@10, seed ceiling − BERT–KD", look("table2", "drift", pair=list(BK), k=10), 0, INF)]),
    ("4.3", "LIME exhibits high run-to-run variance", "LIME against itself", [
        (f"Jaccard@10 with itself, {label}", look("lime_noise", "jaccard@10", model=m), -INF, 0.8) for m, label in MODELS.items()]),
    ("4.4", "DistilBERT aligns more strongly with BERT in directional reasoning than KD-TinyBERT does", "Table 3", [
        ("cosine, BERT–DistilBERT − BERT–KD", less("cosine", BD, BK), 0, INF)]),
    ("4.4", "The drop … indicates a divergence in how compressed models weigh positive vs. negative cues", "Table 3", [
        ("polarity cosine, which asks no class, BERT–DistilBERT − BERT–KD", less("cosine_polarity", BD, BK), 0, INF)]),
    ("4.4", "The large variance for KD-TinyBERT … reflects instability across examples", "Table 3", [
        ("SD of the polarity cosine, BERT–KD / BERT–DistilBERT", look("table3", "sd_ratio_polarity", pair=list(BK)), 1, INF)]),
    ("4.4", "BERT and DistilBERT cluster closely, while KD exhibits wider angular dispersion", "Figure 8", [
        ("angle to BERT, KD − DistilBERT, degrees", lambda t: paired(*(
            np.array(t["figure8"]["angle_to_first"][m], dtype=float) for m in (K, D))), 0, INF)]),
    ("4.5", "all three models exhibit post-but ratios well above chance level", "Table 4", [
        (f"ratio − equal credit, {label}", look("credit", "ratio_minus_uniform", model=m), 0, INF) for m, label in MODELS.items()]),
    ("4.5", "they generally recognize the contrastive structure", "credit.json", [
        (f"ratio under “but” − under “and”, {label}", look("credit", "post_but_ratio_but_minus_and", model=m), 0, INF)
        for m, label in MODELS.items()]),
    ("4.5", "BERT demonstrates the strongest … preference for the post-but clause", "Table 4", [
        ("ratio, BERT − DistilBERT", less("post_but_ratio", B, D), 0, INF), ("BERT − KD", less("post_but_ratio", B, K), 0, INF)]),
    ("4.5", "BERT demonstrates the … most stable preference for the post-but clause", "Table 4", [
        (f"SD, {MODELS[m]} / BERT", look("credit", "sd_ratio_to_bert", model=m), 1, INF) for m in (D, K)]),
    ("4.5", "… indicating greater reliance on token-level polarity in the distilled models", "Table 4", [
        (f"less confident without “but”, BERT − {MODELS[m]}", less("less_confident_without_but", B, m), 0, INF) for m in (D, K)]),
    ("4.5", "KD-TinyBERT achieves a comparable mean ratio … but with markedly higher variance", "Table 4", [
        ("ratio, KD − BERT", less("post_but_ratio", K, B), -0.05, 0.05),
        ("SD, KD / BERT", look("credit", "sd_ratio_to_bert", model=K), 1, INF)]),
    ("4.5", "DistilBERT shows a slightly weaker but more consistent pattern", "Table 4", [
        ("ratio, DistilBERT − BERT", less("post_but_ratio", D, B), -INF, 0),
        ("SD, DistilBERT / BERT", look("credit", "sd_ratio_to_bert", model=D), 0, 1)]),
    ("4.5", "All three models correctly classify the original sentence as positive", "Table 5", [
        ("models that say positive", example("Original", "positive"), 2.5, INF)]),
    ("4.5", "Removing “but” causes BERT to fall back to a neutral prediction", "Table 5", [
        ("BERT neutral", lambda t: exact(float(look_example(t, B, "Without “but”") == "neutral")), 0.5, INF)]),
    ("4.5", "… whereas DistilBERT and KD-TinyBERT remain weakly positive", "Table 5", [
        ("both positive", lambda t: exact(sum(look_example(t, m, "Without “but”") == "positive" for m in (D, K))), 1.5, INF)]),
    ("4.5", "When the clauses are reversed, all models correctly shift to negative sentiment", "Table 5", [
        ("models that say negative", example("Flipped clauses", "negative"), 2.5, INF)]),
    ("5.1", "Its lower accuracy … yet [DistilBERT's] reasoning is stable and systematically aligned with the teacher", "Table 3", [
        ("polarity cosine, seed ceiling − BERT–DistilBERT", look("table3", "drift_polarity", pair=list(BD)), -INF, 0.05)]),
    ("5.1", "[DistilBERT] with smaller magnitude and reduced robustness", "Table 1", [
        ("ConfDrop@3, DistilBERT − BERT", less("confidence_drop", D, B), -INF, 0),
        ("FlipRate@3, DistilBERT − BERT", less("flip_rate", D, B), 0, INF)]),
    ("5.2", "KD-TinyBERT often assigns high importance to neutral function words", "words.json", [
        ("function words' share of |φ|, KD − BERT", look("words", "function_share_minus_bert", model=K, set="subset"), 0, INF)]),
    ("5.2", "… while underweighting actual sentiment-bearing tokens", "words.json", [
        ("polarity words' share of |φ|, KD − BERT", look("words", "polarity_share_minus_bert", model=K, set="subset"), -INF, 0)]),
    ("5.2", "its post-but contrastive ratio … is extremely unstable across examples", "Table 4", [
        ("SD, KD / BERT", look("credit", "sd_ratio_to_bert", model=K), 1.5, INF)]),
    ("5.2", "This behavioral pattern is a direct consequence of the distillation objective", "design.json", [
        ("polarity cosine with BERT, KD − gold labels alone, same start", by_objective("cosine_polarity_with_bert"), -INF, 0)]),
    ("5.2", "a shallow but stable model: its predictions are rarely flipped by masking top-ranked tokens", "Table 1", [
        ("FlipRate@3, KD", look("table1", "flip_rate", model=K, explainer="shap", k=3), -INF, 0.1)]),
    ("5.3", "all models recognized the linguistic rule that the post-but clause dominates sentiment", "contrast.json", [
        (f"follows the second clause under “but”, {label}",
         look("contrast", "follows_ruling_clause", model=m, connective="but", frame="all"), 0.5, INF) for m, label in MODELS.items()]),
    ("5.3", "only BERT and DistilBERT used the correct sentiment-bearing tokens to implement this rule", "reasons.json", [
        ("right label, evidence elsewhere, KD − BERT, templates", reason("templates", K, B), 0, INF),
        ("KD − DistilBERT", reason("templates", K, D), 0, INF)]),
    ("5.3", "KD-TinyBERT often reproduced the correct label while ignoring the critical polarity cues entirely", "reasons.json", [
        ("KD's right labels with no top-3 token on the second adjective, templates",
         look("reasons", "right_for_wrong_reason", model=K, set="templates"), 0.25, INF)]),
    ("3.7", "[Models are expected to] change predictions accordingly when clauses are swapped", "Table 4", [
        (f"rate, {label}", look("table4", "swaps_with_clauses", model=m), 0.5, INF) for m, label in MODELS.items()]),
    ("3.7", "[Models are expected to] reduce confidence when contrast cues are removed", "Table 4", [
        (f"rate, {label}", look("table4", "less_confident_without_but", model=m), 0.5, INF) for m, label in MODELS.items()]),
    ("5.4", "soft-logit knowledge distillation maintains predictive accuracy at the expense of reasoning fidelity", "design.json", [
        ("accuracy, KD − gold labels alone, same start", by_objective("accuracy"), -0.03, INF),
        ("polarity cosine with BERT, the same", by_objective("cosine_polarity_with_bert"), -INF, 0),
        ("the same of soft logits alone", by_objective("cosine_polarity_with_bert", "kd_soft"), -INF, 0)]),
    ("2.4", "no prior study directly compares the reasoning behaviour of a full BERT model, a distilled architecture like DistilBERT, "
     "and a knowledge-distilled TinyBERT", "none: a question to the literature (arXiv 2508.13533 does much of it)", [
         ("prior studies", lambda t: None, -INF, INF)]),
)

_drop, _flip = ({m: PAPER["table1"][m][key] for m in MODELS} for key in ("confidence_drop", "flip_rate"))
_accuracy, _ratio = {m: PAPER["figure4"][m]["accuracy"] for m in MODELS}, PAPER["table4"]
OWN_CLAIMS = (  # the paper's text against the paper's own tables
    ("Abstract", "Across all metrics, DistilBERT remains closest to BERT", "Figure 4, Tables 1, 4", [
        (f"distance to BERT, DistilBERT − KD: {what}", own(round(abs(d - b) - abs(k - b), 3)), -INF, 0) for what, b, d, k in (
            ("accuracy", *_accuracy.values()), ("ConfDrop@3", *(_drop[m][0] for m in MODELS)),
            ("short-token ratio", *(PAPER["table1"][m]["short_token_ratio"] for m in MODELS)),
            ("post-but ratio", *(_ratio[m][0] for m in MODELS)))]),
    ("3.2", "[KD-TinyBERT] is trained solely through knowledge distillation … rather than from the gold SST-5 labels", "equation of 3.5", [
        ("weight of the gold labels' cross-entropy", own(0.5), -INF, 0.01)]),
    ("4.1", "marginally outperforming BERT (0.538)", "Figure 4", [
        ("KD − BERT, in standard errors of a difference at n = 2,210",
         own(round((_accuracy[K] - _accuracy[B]) / (2 * 0.54 * 0.46 / SPLITS["test"])**0.5, 2)), 1.96, INF)]),
    ("4.1", "despite having a much smaller parameter footprint", "3.2", [("KD / BERT, 66M / 110M", own(0.6), 0, 0.5)]),
    ("4.3", "KD-TinyBERT exhibits the lowest similarity", "Table 2", [
        (f"Jaccard@10, BERT–DistilBERT − {pair_label(p)}", own(round(PAPER["table2"][BD]["jaccard"] - PAPER["table2"][p]["jaccard"], 3)),
         0, INF) for p in (BK, DK)]),
    ("4.3", "[Jaccard@10] 0.468 [beside Overlap@10] 0.625", "Table 2, and the lengths of our sentences of SST-5", [
        (f"{pair_label(pair)}: Jaccard − the least that its Overlap allows", of_sst5(lambda t, pair=pair: PAPER["table2"][pair][
            "jaccard"] - least_jaccard(PAPER["table2"][pair]["overlap"], t["sizes"])), 0, INF) for pair in PAIRS]),
    ("4.5", "BERT demonstrates the strongest and most stable preference", "Table 4", [
        ("ratio, BERT − KD", own(round(_ratio[B][0] - _ratio[K][0], 3)), 0, INF),
        ("SD, BERT − DistilBERT", own(round(_ratio[B][1] - _ratio[D][1], 3)), -INF, 0)]),
    ("5.1", "[DistilBERT] with smaller magnitude and reduced robustness", "Table 1", [
        ("ConfDrop@3, DistilBERT − BERT", own(round(_drop[D][0] - _drop[B][0], 3)), -INF, 0),
        ("FlipRate@3, DistilBERT − BERT", own(round(_flip[D] - _flip[B], 3)), 0, INF)]),
    ("5.2", "its post-but contrastive ratio … is extremely unstable", "Table 4", [
        ("SD, KD / BERT", own(round(_ratio[K][1] / _ratio[B][1], 2)), 1.5, INF)]),
)


def least_jaccard(overlap, sizes, k=10):
    """The smallest mean Jaccard@k that goes with a mean Overlap@k at these lengths. n <= k: J = 1 and O = n / k. n > k:
    J = O / (2 - O) is convex in O, so the mean of J is least where all O are equal (Jensen)."""
    sizes = np.asarray(sizes)
    short = sizes <= k
    rest = (overlap - np.minimum(sizes, k)[short].sum() / k / len(sizes)) / max((~short).mean(), 1e-9)
    return short.mean() + (~short).mean() * rest / (2 - rest)


def demand(low, high):
    """The range of a demand, in words."""
    if (low, high) == (-INF, INF):
        return "is not asked of this run"
    if low == -INF:
        return f"< {high:g}"
    return f"> {low:g}" if high == INF else f"between {low:g} and {high:g}"


def judge(claim, tables):
    """{"section", "quote", "evidence", "rule", "verdict", "found"} of one claim; found names what decided."""
    section, quote, evidence, demands = claim
    found = {HOLDS: [], FAILS: [], UNTESTED: [], OPEN: []}
    for what, get, low, high in demands:
        s = get(tables)
        if s is None or not s["n"]:
            found[UNTESTED].append(what)
            continue
        inside, outside = low < s["low"] and s["high"] < high, s["high"] <= low or high <= s["low"]
        found[HOLDS if inside else FAILS if outside else OPEN].append(
            f"{what} is {s['mean']:.3g}" + ("" if s["low"] == s["high"] else f" [{s['low']:.3f}, {s['high']:.3f}]"))
    verdict = next((v for v in (FAILS, UNTESTED, OPEN) if found[v]), HOLDS)
    said = {HOLDS: "Met", FAILS: "Missed", OPEN: "Undecided", UNTESTED: "Not in this run"}[verdict]
    return {"section": section, "quote": quote, "evidence": evidence, "verdict": verdict, "found": f"{said}: {'; '.join(found[verdict])}.",
            "rule": "; ".join(f"{what} {demand(low, high)}" for what, _, low, high in demands)}


# ---------------------------------------------------------------------------------------------------------------------
# report.md, top to bottom

TABLES = {"04_evaluate.py": ("figure1", "figure4", "table1", "table2", "table3", "figure8", "buckets", "removal", "sensitivity",
                             "lime_noise", "fidelity", "design", "comparisons"),
          "05_probes.py": ("table4", "table5", "cases", "contrast", "credit", "found", "negation", "words", "reasons",
                           "reasons_paired", "contrast_comparisons")}


def stand_ins(t):
    """The report's first line where the models are not the paper's."""
    millions = t["timing"][B]["parameters"] / 1e6
    return "" if abs(millions - 110) < 2 else (
        f"**The models of this run are smaller stand-ins for the paper’s** ({millions:.1f} M parameters in BERT’s place). It can settle what "
        "holds of the measures themselves (chance, seed, class, mask, ties, length) and whether the paper’s pattern is general; it "
        "cannot settle what BERT-base, DistilBERT and TinyBERT do.\n")


def assumptions_measured(t):
    """What some readings of ours change, where this run measured it."""
    bert = [r for r in t["removal"] if r["model"] == B]
    lines = [["A4, what removal is", "ConfDrop@3 of BERT under " + ", ".join(
        f"{r['operator']} {number(r['confidence_drop']['mean'])}" for r in bert)]]
    tied = [r for r in t["table2"] if r["explainers"] == ["shap", "shap"] and r["k"] == 10 and r["pair"] == list(BD)][0]
    lines.append(["A5, ties in the order of the sentence", f"{tied['tied']['mean']:.0%} of sentences tied at the 10th place; BERT–DistilBERT "
                  f"Jaccard@10 {number(tied['jaccard']['mean'])}, over ties {number(tied['jaccard_over_ties']['mean'])}"])
    cosine = t["table3"][0]
    lines.append(["3.6, each model’s own class", f"BERT–DistilBERT cosine {number(cosine['cosine']['mean'])}; one class for both "
                  f"{number(cosine['cosine_common_class']['mean'])}; polarity {number(cosine['cosine_polarity']['mean'])}"])
    for number_, variant in (("A11, SHAP’s reference against [MASK]", "shap_mask"), ("A12, 500 evaluations against all", "shap_full")):
        rows = [r for r in t["sensitivity"] if r["variant"] == variant]
        if rows:
            lines.append([number_, "; ".join(f"{model_label(r['model'])} ConfDrop@3 {r['drop_change']['mean']:+.3f}, top 10 kept "
                                             f"{r['top10_kept']['mean']:.2f}" for r in rows if "model" in r)])
    return markdown(["Assumption", "effect in this run"], lines)


def report(t, captions, claims, own_claims, stamp, runs, models):
    """The report's text."""
    stages = {}  # a stage run in several calls: seconds add up, memory is the largest
    for r in runs:
        seconds, memory, _ = stages.get((r["stage"], r["name"] or ""), (0, 0, ""))
        stages[r["stage"], r["name"] or ""] = seconds + r["seconds"], max(memory, r["peak_memory_gb"]), r["finished"]
    accuracy = {r["model"]: r["accuracy"]["mean"] for r in t["figure4"]}
    n, n_test = t["table3"][0]["cosine"]["n"], t["figure4"][0]["accuracy"]["n"]
    text = next((r["data"] for r in reversed(runs) if r.get("data")), "")
    shown = {v: sum(c["verdict"] == v for c in claims) for v in (HOLDS, FAILS, OPEN, UNTESTED)}

    def figure(i):
        return f"![Figure {i}](figures/figure{i}.png)\n\n*Figure {i}. {captions[i]}*\n"

    def ledger(rows, first):
        return view(rows, {"": lambda c: f"{first}{rows.index(c) + 1}", "§": lambda c: c["section"], "the paper says": lambda c: f"“{c['quote']}”",
                           "rule": lambda c: c["rule"], "evidence": lambda c: c["evidence"], "found": lambda c: c["found"],
                           "verdict": lambda c: f"**{c['verdict']}**"})

    parts = [
        "# Faithfulness and Reasoning Drift in Compressed Transformers: what this run found\n", stand_ins(t),
        "## 1. What was run\n",
        view(models, {"Model": model_of, "start": lambda r: r["start"], "objective": lambda r: r["objective"], "seed": lambda r: r["seed"],
                      "best epoch": lambda r: r["epochs"], "weights": lambda r: r["weights"][:12]}),
        f"\nText {text} ({stamp['inputs']['text'][:12]}), subset {stamp['inputs']['subset'][:12]} ({n} sentences). Commit "
        f"{stamp['commit']}, device {stamp['device']}, {', '.join(f'{k} {v}' for k, v in stamp['versions'].items())}; {runs[-1]['machine'] if runs else ''}.\n",
        markdown(["Stage", "seconds", "peak memory, GB", "finished"], [
            [f"{stage} {name}", f"{seconds:.0f}", memory, finished] for (stage, name), (seconds, memory, finished) in stages.items()]),
        "## 2. The paper’s claims\n",
        f"{len(claims)} sentences of the paper, each with the rule that judges it, which stands in 06_figures.py. A demand is met when the 95% "
        "interval of its quantity lies inside the stated range, missed when it lies outside, undecided otherwise; a claim **holds** when "
        "all its demands are met, **does not hold** when one is missed. Signs and orders are judged, not digits; the intervals are not "
        "widened for the number of claims. "
        + "; ".join(f"{v}: {count}" for v, count in shown.items()) + ".\n", ledger(claims, "C"),
        "### The paper’s text against its own tables\n", ledger(own_claims, "P"),
        "## 3. Tables\n",
        "Every cell is *paper*, then *ours* with its 95% interval over sentences. *match*: the paper’s value lies in our interval; *near*: "
        f"within {NEAR} of ours; *differs*. A match inside a wide interval is weak evidence. Assumptions A1, A2, … are in README.md.\n",
        "### Accuracy and F1 (4.1)\n", figure4_table(t), figure(4),
        "### Table 1. Faithfulness (4.2)\n", table1(t), figure(5),
        "### Table 2. Agreement (4.3)\n", table2(t), figure(6),
        "### Table 3. Direction (4.4)\n", table3(t), figure(7), figure(8),
        "### Table 4. Contrast (4.5)\n", table4(t),
        "### Table 5. The example (4.5)\n", table5(t), figure(9),
        "### Buckets (3.7 (5); the paper gives no numbers)\n",
        view(t["buckets"], {"Bucket": lambda r: r["bucket"], "n": lambda r: r["n"], "n in test": lambda r: r["n_test"], **{
            f"cosine, Jaccard@10 {pair_label(p)}": lambda r, i=i: f"{number(r['pairs'][i]['cosine']['mean'])}, "
            f"{number(r['pairs'][i]['jaccard@10']['mean'])}" + (" (few)" if r["n"] < 10 else "") for i, p in enumerate(PAIRS)}}),
        "### Case studies (3.7 (6)), picked by rule\n", cases_text(t["cases"]),
        "### What a model costs (RQ5)\n",
        markdown(["Model", "layers", "parameters", "ms for one sentence", "sentences a second", "accuracy"], [
            [model_label(m), c["layers"], f"{c['parameters'] / 1e6:.1f} M", number(c["milliseconds_alone"], 1),
             f"{c['sentences_per_second']:.0f}", number(accuracy[m])] for m, c in t["timing"].items()]),
        "## 4. Controls\n", *(f"### {title}\n\n{how}\n\n{table}" for title, how, table in control_tables(t)),
        "## 5. Noise, sensitivity, assumptions\n",
        f"One standard error of an accuracy near 0.5 is {100 * (0.25 / n_test)**0.5:.1f} points at {n_test:,} sentences, of a rate at {n} "
        f"{100 * (0.25 / n)**0.5:.1f} points. With power 80%, {n} sentences show a difference of cosines of "
        f"{number(next(r for r in t['comparisons'] if r['measure'] == 'cosine')['smallest'])}, of Jaccard@10 of "
        f"{number(next(r for r in t['comparisons'] if r['measure'] == 'jaccard')['smallest'])}; smaller ones cannot be told.\n",
        assumptions_measured(t),
        "## 6. The data and the pipeline\n", figure(1), figure(2), figure(3),
        "## 7. Easy, hard, again\n",
        "Easy: the models, the splits and the loss are stated or standard. Hard: the SHAP reference (A11: an embedding summary does not "
        "enter shap’s text interface as it is), what *remove* means (A4), which class is explained, and the contrastive set, of which "
        "the paper shows two sentences. The same again, from the commit above:\n\n```\n"
        + "\n".join(dict.fromkeys(f"python {r['stage']}.py {' '.join(r['argv'])}" for r in runs)) + "\n```\n"]
    return "\n".join(parts)


# ---------------------------------------------------------------------------------------------------------------------
# explanations.html: the paper's Figure 9 for every sentence

STYLE = """:root{color-scheme:light dark;--for:0,114,178;--against:213,94,0}
body{font:16px/1.6 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:0 1rem}
nav{display:flex;flex-wrap:wrap;gap:0 .9rem}article{border-top:1px solid #8886;padding:.5rem 0 1rem;break-inside:avoid}
h3{font-size:1rem;margin:.3rem 0}h4{font-size:.9rem;margin:.2rem 0}p{margin:.2rem 0;overflow-wrap:anywhere}
.models{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:.4rem 1.4rem}
small{opacity:.8}.how{font-size:.7rem;opacity:.7;margin-right:.4em}i{font-style:normal;border-radius:.2em}
@media print{*{-webkit-print-color-adjust:exact;print-color-adjust:exact}body{font-size:9pt;max-width:none}nav{display:none}}
""" + "".join(f".p{level}{{background:rgba(var(--for),{level * 0.13:.2f})}}"
              f".n{level}{{background:rgba(var(--against),{level * 0.13:.2f});text-decoration:underline dotted}}" for level in range(6))


def marked(text, pieces):
    """The text with each piece (start, end, value) coloured by its share of the largest, its value on hover; escaped."""
    largest, at, html = max((abs(v) for *_, v in pieces), default=0) or 1, 0, []
    for start, end, value in sorted(pieces):
        level = round(5 * abs(value) / largest)
        html += [escape(text[at:start]), f'<i class={"n" if value < 0 else "p"}{level} title={value:+.3f}>{escape(text[start:end])}</i>']
        at = end
    return "".join(html) + escape(text[at:])


def article(anchor, heading, shap, lime):
    """One sentence, the models side by side, SHAP above LIME. shap, lime: name -> row."""
    blocks = []
    for name, row in shap.items():
        phi = np.array(row["attributions"])[:, row["predicted"]] if row["attributions"] else []
        lines = [("SHAP", marked(row["text"], [(*span, v) for span, v in zip(row["spans"], phi)]))]
        if name in lime:
            lines.append(("LIME", marked(row["text"], [(*span, v) for spans, v in zip(lime[name]["spans"], lime[name]["attributions"])
                                                       for span in spans])))
        right = "" if "label" not in row else " ✓" if row["predicted"] == row["label"] else " ✗"
        blocks.append(f"<div><h4>{model_label(name)}: {LABELS[row['predicted']]}{right} "
                      f"<small>{' '.join(f'{p:.2f}' for p in row['probabilities'])}</small></h4>"
                      + "".join(f"<p><span class=how>{how}</span>{html}</p>" for how, html in lines) + "</div>")
    name = escape("-".join(anchor.replace(",", "").split()))
    return (f'<article id="{name}"><h3><a href="#{name}">{name}</a> {heading}</h3>'
            f'<div class=models>{"".join(blocks)}</div></article>')


def explanations_page(artifacts, subset):
    """The page: the 150 by bucket and by cosine to BERT, furthest first; then the probes. Plain HTML and CSS."""
    shap, lime = ({m: {r["id"]: r for r in load_explanations(artifacts, m, method, subset)[0]} for m in MODELS}
                  for method in ("shap", "lime"))
    probes = {}
    for m in MODELS:
        path = artifacts / "probes" / f"{m}.shap.jsonl"
        salt = stamp_salt(read_json(path.with_suffix(".stamp.json"), "05_probes.py"))
        probes[m] = {r["id"]: r for r in read_jsonl(path, "05_probes.py", salt)}
    sections = {}
    for row in subset:
        rows = {m: shap[m][row["id"]] for m in MODELS}
        bucket = " + ".join(label for m, label in MODELS.items() if rows[m]["predicted"] == row["label"]) or "no model"
        phi = {m: own_class(r) for m, r in rows.items()}
        angles = {m: cosine(phi[B], phi[m]) for m in (D, K)}
        heading = f"gold: {LABELS[row['label']]} <small>cosine to BERT: DistilBERT {angles[D]:.2f}, KD {angles[K]:.2f}</small>"
        html = article(row["id"], heading, rows, {m: lime[m][row["id"]] for m in MODELS})
        sections.setdefault(bucket, []).append((np.nan_to_num(angles[K]), html))
    ordered = [(f"right: {bucket} ({len(rows)})", [html for _, html in sorted(rows)])
               for bucket, rows in sorted(sections.items(), key=lambda item: -len(item[1]))]
    words, effects = ("negative", "neutral", "positive"), {"turns": "turns it", "restores": "restores it", "nothing": "leaves it"}
    made = [article(i, f"adjective: {words[row['polarity']]}; the negation {effects[row['effect']]}" if "effect" in row else
                    f"second clause: {words[row['polarity']]}" if "polarity" in row else f"gold: {LABELS[row['label']]}",
                    {m: probes[m][i] for m in MODELS}, {}) for i, row in probes[B].items() if all(i in probes[m] for m in MODELS)]
    ordered.append((f"probes ({len(made)})", made))
    links = "".join(f'<a href="#s{i}">{title}</a>' for i, (title, _) in enumerate(ordered))
    body = "".join(f"<h2 id=s{i}>{title}</h2>{''.join(html)}" for i, (title, html) in enumerate(ordered))
    return (f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">'
            f"<title>Explanations</title><style>{STYLE}</style><h1>What each model looked at</h1><p>Every token is coloured by its "
            "attribution for the class the model predicts: <i class=p4>for it</i>, <i class=n4>against it</i>, as strong as its share of the "
            f"largest in the sentence; the value is on hover. Beside a prediction: the probabilities of {', '.join(LABELS)}. Sentences are "
            f"grouped by which models are right, those where KD-TinyBERT is furthest from BERT first.</p><nav>{links}</nav>{body}</html>\n")


def parse_args(argv=None):
    return cli(__doc__).parse_args(argv)


def main():
    args = parse_args()
    artifacts = Path(args.artifacts)
    contents = {(script, table): read_json(artifacts / "tables" / f"{table}.json", f"{script} --artifacts {artifacts}")
                for script, names in TABLES.items() for table in names}
    claim(artifacts / "tables" / "06_figures")
    t = {table: content["rows"] for (_, table), content in contents.items()}
    subset = load_subset(artifacts)
    belongs = {"subset": digest([row["text"] for row in subset]), **{name: weights_of(artifacts, name) for name in MODELS}}
    for (script, table), content in contents.items():
        if differ := differences({key: content["stamp"]["inputs"].get(key) for key in belongs}, belongs):
            stop(f"{artifacts}/tables/{table}.json is of other weights or sentences than are there ({differ}); {script} --artifacts "
                 f"{artifacts} makes it again")
    stamp = contents["04_evaluate.py", "figure1"]["stamp"]
    t["comparisons"] += t["contrast_comparisons"]
    t["timing"] = read_json(artifacts / "timing.json", "04_evaluate.py")
    t["sizes"] = [len(row["tokens"]) for row in load_explanations(artifacts, B, "shap", subset)[0]]
    models = []
    for name in t["timing"]:
        made = read_json(artifacts / "models" / name / "stamp.json", MAKES_MODEL)
        log = read_json(artifacts / "models" / name / "training_log.json")
        a = made["arguments"]
        models.append({"model": name, "start": " ".join([Path(a["checkpoint"]).name, *(f"layer {i}" for i in a["keep_layers"])]),
                       "objective": f"{a['alpha']} CE + {a['beta']} KD from {a['teacher']}" if "teacher" in a else "CE", "seed": a["seed"],
                       "epochs": f"{min(log, key=lambda e: e['validation_loss'])['epoch']} of {len(log)}", "weights": made["weights"]})
    in_order = sorted(CLAIMS, key=lambda c: (c[0] != "Abstract", c[0]))  # the paper's; within a section as they stand
    claims, own_claims = ([judge(claim, t) for claim in group] for group in (in_order, OWN_CLAIMS))
    write_json(artifacts / "tables" / "claims.json", {"stamp": stamp, "rows": claims, "own": own_claims})

    captions = {}
    with plt.rc_context(LAYOUT):
        for i, draw in enumerate(FIGURES, 1):
            fig, captions[i] = draw(t, artifacts)
            for kind in ("png", "pdf"):
                with whole(artifacts / "figures" / f"figure{i}.{kind}") as partial:
                    fig.savefig(partial, format=kind)
            plt.close(fig)
    runs = resumable(artifacts / "runs.jsonl")
    for name, text in (("report.md", report(t, captions, claims, own_claims, stamp, runs, models)),
                       ("explanations.html", explanations_page(artifacts, subset))):
        with whole(artifacts / name) as partial:
            partial.write_text(text, encoding="utf-8")
        print(f"wrote {artifacts / name}")
    return args


if __name__ == "__main__":
    run(main)
