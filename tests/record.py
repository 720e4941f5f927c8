"""Recorded runs: what is kept of a run in tests/recorded/, and README's tables made from that.

    .venv/bin/python tests/record.py artifacts-cpu-sst5 sst5   keeps a finished run as sst5
    .venv/bin/python tests/record.py                           writes README's tables again

Of every run tables/ and settings/ are kept, of sst5 also report.md and figures/. No number in
README's tables is typed.
"""
import importlib
import json
import math
import shutil
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECORDED = ROOT / "tests/recorded"
sys.path.insert(0, str(ROOT))

from common import MODELS  # noqa: E402

six = importlib.import_module("06_figures")

SHOWN = ("bert", "distilbert", "kd_tinybert", "kd_aligned")
RESULTS = ("accuracy", "FlipRate@3", "Jaccard@10", "cosine", "polarity cosine")
IN_SHORT = {  # the claims in about five words
    1: "KD-TinyBERT is right for wrong reasons", 2: "accuracies are within 0.05 of BERT's",
    3: "DistilBERT's confidence drops most", 4: "BERT and DistilBERT often flip",
    5: "KD-TinyBERT's flip rate is zero", 6: "short-token ratios are alike",
    7: "DistilBERT is nearer in tokens", 8: "KD-TinyBERT's top tokens drift",
    9: "DistilBERT is nearer in direction", 10: "KD-TinyBERT is further in polarity",
    11: "KD-TinyBERT's cosine varies most", 12: "all post-but ratios are well above chance",
    13: "“but” moves credit to what follows", 14: "BERT prefers the post-but clause most",
    15: "students rely more on token polarity", 16: "KD-TinyBERT overrates function words",
    17: "distillation causes the drift", 18: "only KD-TinyBERT ignores the cues",
    19: "KD-TinyBERT loses agreement, little accuracy"}


def records(run, name):
    """The records of a run's tables/<name>.jsonl; a number that is null there is NaN."""
    def numbers(record):
        names = ("minus", "above", "below")  # here null says that there is none
        return {key: math.nan if value is None and key not in names else value
                for key, value in record.items()}
    lines = (RECORDED / run / f"tables/{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line, object_hook=numbers) for line in lines]


def estimates(run):
    """{(metric, model or pair): its record} of the tables that have the paper's numbers."""
    return {(row["metric"], row.get("model") or row["pair"]): row
            for row in records(run, "estimates") if row.keys() & {"model", "pair"}
            and "paper" in row}


def results_table(run):
    """Our means, intervals and chance, the paper's means below."""
    found, rows = estimates(run), [["", *(rf"{MODELS[model]}\*" for model in SHOWN), "chance"]]
    for metric in RESULTS:
        pairs = ["bert/bert_next", *(f"bert/{model}" for model in SHOWN[1:])]
        ours = [found[metric, of] for of in (pairs if (metric, pairs[0]) in found else SHOWN)]
        baselines = {six.three_digits(one["baseline"]) for one in ours} - {"–"}
        ends = {min(baselines), max(baselines)} if baselines else ()  # of the models
        rows.append([metric, *map(six.estimate_text, ours), " to ".join(sorted(ends))])
        papers = [six.three_digits(one["paper"]).replace("–", "") for one in ours]
        if any(papers):
            rows.append(["*the paper's*", *papers, ""])
    return aligned([rows[0], ["---"] * len(rows[0]), *rows[1:]])


def aligned(rows):
    """Rows of cells as Markdown whose columns also stand below each other in a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)


def verdict_lists(run):
    """The claims of each verdict in a few words."""
    claims, lines = records(run, "claims"), []
    for verdict in (six.HOLDS, six.FAILS, six.OPEN, six.UNTESTED):
        words = [f"**{claim['claim']}** {IN_SHORT[claim['claim']]}" for claim in claims
                 if claim["verdict"] == verdict and claim["claim"] != six.QUESTION]
        if words:
            text = f"- **{verdict.capitalize()}** ({len(words)}): {'; '.join(words)}."
            lines.append(textwrap.fill(text, 100, subsequent_indent="  ", break_on_hyphens=False))
    return "\n".join(lines)


def beyond_the_paper(run):
    """Question 20: what KD-aligned gains over KD-TinyBERT, and how far that goes; and KD-soft."""
    found, question = estimates(run), records(run, "claims")[six.QUESTION - 1]
    gains, ways = [], []
    for one in question["comparisons"]:
        start, goal = (found[one["metric"], f"bert/{of}"]["mean"]
                       for of in ("kd_tinybert", "bert_next"))
        gains.append(f"{one['metric']} {six.estimate_text(one)}")
        ways.append(f"{one['mean'] / (goal - start):.0%}")
    soft = [f"{metric} {six.estimate_text(found[metric, of])}" for metric, of in (
        ("accuracy", "kd_soft"), ("Jaccard@10", "bert/kd_soft"),
        ("polarity cosine", "bert/kd_soft"))]
    text = (f"KD-aligned − KD-TinyBERT: {', '.join(gains)}; {' and '.join(ways)} of the way to "
            f"BERT of the next seed. That both are above 0: {question['verdict']} by SHAP, "
            f"{question['ig']} by integrated gradients. KD-soft: {', '.join(soft)}.")
    return textwrap.fill(text, 100, break_on_hyphens=False)


def with_tables(readme, run="sst5"):
    """The text of README.md with its numbers made from the recorded run."""
    for make in (results_table, verdict_lists, beyond_the_paper):
        begin, end = f"<!-- {make.__name__}: by tests/record.py -->\n", "<!-- end -->\n"
        head, _, rest = readme.partition(begin)
        readme = head + begin + make(run) + "\n" + end + rest.partition(end)[2]
    return readme


if __name__ == "__main__":
    if len(sys.argv) == 3:
        source, kept = Path(sys.argv[1]), RECORDED / sys.argv[2]
        for part in ("tables", "settings"):
            shutil.copytree(source / part, kept / part, dirs_exist_ok=True)
        if kept.name == "sst5":  # README shows its figures and links its report
            shutil.copytree(source / "figures", kept / "figures", dirs_exist_ok=True)
            shutil.copy(source / "report.md", kept)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (ROOT / "README.md").write_text(with_tables(text), encoding="utf-8")
