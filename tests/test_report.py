"""The report: a verdict follows from its printed rule, and the page shows what the files say."""
import re

import numpy as np
import pytest

PARTS = ("mean", "low", "high", "n")


def s(mean, low, high, n=150):
    return dict(zip(PARTS, (mean, low, high, n)))


@pytest.mark.parametrize("value, verdict", [
    (s(0.2, 0.1, 0.3), "holds"), (s(-0.2, -0.3, -0.1), "does not hold"), (s(0.1, -0.1, 0.3), "can't be told at this n"),
    (s(0.1, 0.0, 0.2), "can't be told at this n"), (s(-0.1, -0.2, 0.0), "does not hold"),  # the bound itself is outside
    (None, "not tested here"), (s(None, None, None, 0), "not tested here")])
def test_a_demand_is_met_missed_or_undecided(scripts, value, verdict):
    got = scripts["06"].judge(("4.1", "quote", "Table 1", [("x", lambda t: value, 0, float("inf"))]), {})
    assert got["verdict"] == verdict and got["rule"] == "x > 0"


def test_one_missed_demand_is_enough_and_all_must_be_met(scripts):
    demands = {"met": s(1, 0.9, 1.1), "missed": s(-1, -1.1, -0.9), "open": s(0, -1, 1), "absent": None}

    def verdict(*kinds):
        return scripts["06"].judge(("", "", "", [(k, lambda t, k=k: demands[k], 0, 2) for k in kinds]), {})["verdict"]
    assert verdict("met", "met") == "holds" and verdict("met", "missed", "open", "absent") == "does not hold"
    assert verdict("met", "open") == "can't be told at this n" and verdict("met", "absent", "open") == "not tested here"


def comparison(measure, first, second, low, high):
    return {"section": "4", "measure": measure, "first": first, "second": second, **s((low + high) / 2, low, high)}


def test_a_changed_table_changes_the_verdict(scripts):
    six = scripts["06"]
    claim = next(c for c in six.CLAIMS if c[1].startswith("DistilBERT remains closer"))
    pairs = [list(p) for p in six.PAIRS]
    for low, high, verdict in ((0.01, 0.05, six.HOLDS), (-0.05, -0.01, six.FAILS), (-0.01, 0.03, six.OPEN)):
        assert six.judge(claim, {"comparisons": [comparison("jaccard", pairs[0], pairs[1], low, high)]})["verdict"] == verdict
        turned = [comparison("jaccard", pairs[1], pairs[0], -high, -low)]  # the other way round in the table: the same verdict
        assert six.judge(claim, {"comparisons": turned})["verdict"] == verdict
    assert six.judge(claim, {"comparisons": []})["verdict"] == six.UNTESTED


def test_every_claim_has_a_rule_and_its_place(scripts):
    six = scripts["06"]
    assert len(six.CLAIMS) >= 30
    for section, quote, evidence, demands in (*six.CLAIMS, *six.OWN_CLAIMS):
        assert re.fullmatch(r"Abstract|[1-6](\.\d)?", section) and quote and evidence and demands
        assert all(low < high for _, _, low, high in demands)


def test_the_papers_text_against_its_own_tables(scripts):
    six = scripts["06"]
    sst5 = {"figure1": [{"split": split, "counts": [n, 0, 0, 0, 0]} for split, n in six.SPLITS.items()]}
    verdicts = {c[1]: six.judge(c, {"sizes": [23] * 150, **sst5}) for c in six.OWN_CLAIMS}
    of = {quote: v["verdict"] for quote, v in verdicts.items()}
    assert of["BERT demonstrates the strongest and most stable preference"] == six.FAILS
    claim = next(c for c in six.OWN_CLAIMS if c[1].startswith("[Jaccard@10]"))
    assert of[claim[1]] == six.HOLDS  # were all sentences of 23 tokens
    assert six.judge(claim, {"sizes": [8] * 20 + [23] * 130, **sst5})["verdict"] == six.FAILS  # with 13% of at most 10 tokens
    other = {"figure1": [{"split": "train", "counts": [9, 0, 0, 0, 0]}]}
    assert six.judge(claim, {"sizes": [8] * 20, **other})["verdict"] == six.UNTESTED  # another text says nothing of SST-5


def test_least_jaccard_is_reached_and_never_undercut(scripts, rng):
    sizes = np.array([5, 8, 12, 20, 30] * 20)
    for _ in range(50):
        common_tokens = np.where(sizes <= 10, sizes, rng.integers(0, 11, 100))
        j = np.mean(np.where(sizes <= 10, 1, common_tokens / (20 - common_tokens)))
        assert j >= scripts["06"].least_jaccard(np.mean(common_tokens) / 10, sizes) - 1e-12
    even = np.where(sizes <= 10, sizes, 6)
    assert scripts["06"].least_jaccard(np.mean(even) / 10, sizes) == pytest.approx(np.mean(np.where(sizes <= 10, 1, 6 / 14)))


def test_match_near_differs(scripts):
    ours = scripts["06"].ours
    assert ours(0.5, s(0.48, 0.44, 0.52)).endswith("*match*") and ours((0.5, 0.1), s(0.46, 0.44, 0.48)).endswith("*near*")
    assert ours(0.5, s(0.40, 0.38, 0.42)).endswith("*differs*") and "*" not in ours(None, s(0.4, 0.3, 0.5))


def test_marked_text_is_the_text_escaped_with_a_value_on_every_token(scripts):
    html = scripts["06"].marked("a <b> & c", [(0, 1, 0.5), (2, 5, -0.25), (6, 7, 0.0)])
    assert re.sub(r"<[^>]+>", "", html) == "a &lt;b&gt; &amp; c"
    assert re.findall(r"<i class=(\w+) title=([^>]+)>", html) == [("p5", "+0.500"), ("n2", "-0.250"), ("p0", "+0.000")]
    assert scripts["06"].marked("plain", []) == "plain"
