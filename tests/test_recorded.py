"""tests/recorded/: README's numbers, the claims and the report are those of the recorded files."""
import re

import pytest
from record import RECORDED, ROOT, estimates, records, with_tables

import common


@pytest.fixture
def six(scripts):
    return scripts["06"]


def test_readme_has_the_recorded_numbers(six):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_tables(readme) == readme
    typed = re.sub("<!-- .*?<!-- end -->", "", readme, flags=re.DOTALL)
    of_paper = {f"{number:.3f}" for metric in six.METRICS.values()
                for number in metric.paper + metric.paper_sd}
    of_adamw = {"0.999"}
    assert set(re.findall(r"(?<!\d)\d\.\d{3}", typed)) <= of_paper | of_adamw
    for link in re.findall(r"\]\(([^#)][^)]*)\)", readme):
        assert (ROOT / link.partition("#")[0]).is_file(), link


@pytest.mark.parametrize("run", [folder.name for folder in RECORDED.iterdir()])
def test_a_recorded_run_is_judged_by_todays_claims(six, run):
    recorded = {record["claim"]: record for record in records(run, "claims")}
    assert recorded.keys() == {claim.number for claim in six.CLAIMS}
    for claim in six.CLAIMS:
        record = recorded[claim.number]
        assert (claim.section, claim.remark) == (record["section"], record["remark"])
        asked = {"quote": claim.quote, "comparisons": [one._asdict() for one in claim.comparisons]}
        assert six.asked(record) == six.asked(asked)
        for one in record["comparisons"]:
            comparison = six.Comparison(*map(one.get, six.Comparison._fields))
            assert one["verdict"] in ("not tested",
                                      six.verdict_on(one["low"], one["high"], comparison))
    begun = common.read_json(RECORDED / run / "settings/environment.json")
    assert re.fullmatch("[0-9a-f]{7,}", begun["commit"])  # of one commit, without changes


def test_the_recorded_report_says_what_its_files_say(six):
    report = (RECORDED / "sst5/report.md").read_text(encoding="utf-8")
    shown = {part.partition("\n")[0]: part for part in report.split("\n## ")}
    lines, cells = {}, {}  # of the tables, in the order of the file
    for (_, of), record in estimates("sst5").items():
        cell = six.cell_text(record, record["n"]).partition("<br>")[0]
        cells.setdefault((record["table"], of), []).append(cell)
    for (heading, of), expected in cells.items():
        if heading not in lines:  # those that begin with a name and a number, n
            lines[heading] = re.findall(r"^\| [^|]+ \| \d.*", shown[heading], re.MULTILINE)
        line = lines[heading].pop(0).removesuffix(" |").split(" | ")
        assert [cell.partition("<br>")[0] for cell in line[2:]] == expected, (heading, of)
    begun = common.read_json(RECORDED / "sst5/settings/environment.json")
    assert f"Begun at commit {begun['commit']}, this report {begun['commit']};" in report
    rows = re.findall(r"^\| \d+ \|.*", shown["Claims"], re.MULTILINE)
    for row, record in zip(rows, records("sst5", "claims"), strict=True):
        assert f" | {record['verdict']} | {record['ig']} | {record['paper']} |" in row
        for one in record["comparisons"]:
            assert f"{six.estimate_text(one)} (" in row


def test_recorded_files_are_small_and_name_no_folder_of_a_machine():
    files = [path for path in RECORDED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3e6
    for path in files:
        if path.suffix in (".json", ".jsonl", ".md"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r'["( ]/\w+/', text), path
