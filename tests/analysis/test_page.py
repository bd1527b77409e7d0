"""The page of a report: order, accessibility, and content security policy."""

import base64
import hashlib
import itertools
import re
from importlib import resources

import pytest

from mtk import analysis
from mtk.analysis import plain_text, verdict
from mtk.analysis.reporting import contents, method_names
from tests.analysis.odd_texts import EVERY
from tests.analysis.pages import Page, composed
from tests.analysis.synthetic import Run, two_stages, write_study

STYLE = (resources.files("mtk.analysis.reporting") / "templates" / "style.css").read_text("utf-8")
ANSWERS = {"better", "equivalent", "worse", "undecided"}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The page on a study with measured runs."""
    folder = tmp_path_factory.mktemp("page")
    runs = two_stages()
    for run in runs:
        run.extra = {"steps_per_second": 10.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "render", composed)
        return analysis.report([write_study(folder / "study", runs)], folder / "out")


def test_first_screen_shows_methods_verdicts_and_cost(path):
    words = Page(path).words
    parts = [
        "3 methods against static weights on the tasks left, right",
        "Cost: 72 runs, 1.2 hours of wall-clock training time (CPU time was not recorded).",
        "All verdicts.",
        "Method by method",
        "On the front of loss.",
        "Budgets, tuning included",
        "Fronts of the losses",
        "Methodology",
    ]
    found = [words.find(part) for part in parts]
    assert -1 not in found, parts[found.index(-1)]
    said = re.findall(r"(PCGrad|MGDA|GradNorm) (\w+) On the front of loss\. (\w+):? margin", words)
    assert [(name, answer.lower()) for name, _, answer in said] == [said_[:2] for said_ in said]
    assert len(said) == 3
    # The last part is also named in the menu.
    assert found[:-1] == sorted(found[:-1])


def test_verdict_names_the_selecting_metric(path):
    said = (
        "Verdicts on accuracy judge models that validation selected by the losses, not by accuracy."
    )
    words = Page(path).words
    first, *others = (place.start() for place in re.finditer(re.escape(said), words))
    assert words.index("Method by method") < first < words.index("remarks on the reliability")
    assert len(others) == 2  # Next to both verdicts on accuracy.
    assert "Verdicts on loss" not in words


def test_headings_are_in_order_and_images_and_tables_are_described(path):
    page, text = Page(path), path.read_text(encoding="utf-8")
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(page.headings))
    alternatives = [image["alt"] for image in page.images]
    assert len(set(alternatives)) == len(alternatives) >= 10
    assert all(len(alternative) > 40 for alternative in alternatives)
    # A page that is printed before scrolling would lack lazily loaded images.
    assert all("loading" not in image for image in page.images)
    assert text.count("<caption>") == text.count("<table>") > 20
    assert text.count("<th ") == text.count('<th scope="col">')


def test_booleans_are_sorted_as_text(path):
    """Python treats booleans as numbers, but the page's script cannot."""
    text = path.read_text(encoding="utf-8")
    assert "<td>True</td>" in text
    values = set(re.findall(r'data-value="(.*?)"', text))
    assert len(values) > 10
    assert all(re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?|nan|-?inf", value) for value in values)


def test_content_security_policy_allows_only_own_script_and_style(path):
    text = path.read_text(encoding="utf-8")
    for tag in ("script", "style"):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in text
    assert not re.search(r"<[^>]+ (on\w+|style)=", text)


def colours():
    """Returns the CSS colour variables of each medium."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.S)
    return [dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in blocks]


def luminance(colour):
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    """Contrast ratio as defined by WCAG 2.2."""
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("medium", range(3), ids=["light", "dark", "print"])
def test_contrast_of_texts(medium):
    own = colours()[medium]
    assert own.keys() > ANSWERS
    for text in ("text", "faint", "link"):
        for behind in ("back", "card"):
            assert contrast(own[text], own[behind]) >= 4.5, (text, behind)
    for answer in ANSWERS:
        assert contrast(own["text"], own[answer]) >= 4.5, answer


def test_every_answer_has_a_colour():
    assert {verdict.BETTER, verdict.EQUIVALENT, verdict.WORSE, verdict.UNDECIDED} == ANSWERS
    for answer in ANSWERS:
        assert f"span.{answer}, .{answer} > .answer {{ background: var(--{answer}); }}" in STYLE


NAMES = {
    "static_weights": ("StaticWeights", "static weights"),
    "pcgrad": ("PCGrad", "PCGrad"),
    "PCGrad (replayed)": ("StaticWeights", "PCGrad (replayed)"),
    "pcgrad_features": ("PCGrad", "PCGrad (features)"),
    "rlw_dirichlet": ("RLW", "RLW (dirichlet)"),
    "nash_mtl": ("NashMTL", "Nash-MTL"),
    "imtl_g": ("IMTLG", "IMTL-G"),
    "imtl_slow": ("IMTL", "IMTL (slow)"),
    "Mine": ("Mine", "Mine"),
    "mine": ("Mine", "mine"),  # Two methods never get the same name.
    "tuned": ("PCGrad", "tuned"),
}


def test_method_names_are_shown_as_commonly_written(tmp_path):
    runs = [Run(name, combiner) for name, (combiner, _) in NAMES.items()]
    table = analysis.load(write_study(tmp_path / "study", runs))
    assert method_names.written(table) == {name: shown for name, (_, shown) in NAMES.items()}


def test_shown_method_names_are_unique(tmp_path):
    table = analysis.load(write_study(tmp_path / "study", [Run("pcgrad", "PCGrad")]))
    texts = [*EVERY, "pcgrad", "PCGrad", "pc_grad", "PC grad", "pcgrad x", "pcgrad_x"]
    labels = list(dict.fromkeys(map(plain_text.name, texts)))
    many = table.reindex([0] * len(labels)).reset_index(drop=True).assign(method=labels)
    names = method_names.written(many)
    assert list(names) == labels
    assert len(set(names.values())) == len(labels)
