import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from components.contract.layout import Round, manifest_key
from components.publish.render_report import percent, render_report
from components.results import read_run
from components.results.wallclock import duration
from components.store import Run
from tests.support.fake_run import finished_run, prepared_run


class Page(HTMLParser):
    """Tags, attributes and text of a page; unbalanced tags fail."""

    VOID = frozenset({"meta", "br", "link", "img", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def report(run: Run) -> str:
    return render_report(run, read_run(run))


def words(page: Page) -> str:
    return " ".join(page.text.split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, str]:
    run = finished_run(tmp_path_factory.mktemp("store"), iterations=2).run
    return run, report(run)


def test_it_says_what_pipelined_iterations_were_trained_on(tmp_path: Path) -> None:
    fake = finished_run(tmp_path, iterations=3, loop={"staleness": 1})
    text = words(Page(report(fake.run)))
    assert "iteration k trained policy k on completions of policy k − 2" in text
    assert "Iterations were pipelined" not in words(Page(report(finished_run(tmp_path, name="plain").run)))


def test_it_tells_scores_before_and_after(finished: tuple[Run, str]) -> None:
    run, html = finished
    text = words(Page(html))
    evaluated = read_run(run).evaluated
    assert f"{evaluated[0].eval_reward:.3f} → {evaluated[2].eval_reward:.3f}" in text
    assert f"{evaluated[0].pass_at_k[4]:.3f} → {evaluated[2].pass_at_k[4]:.3f}" in text
    assert "2 iterations of up to 4 updates" in text
    assert "Compute share49% sampling or updating" in text


def test_every_chart_is_there_and_well_formed(finished: tuple[Run, str]) -> None:
    charts = re.findall(r"<svg.*?</svg>", finished[1], re.DOTALL)
    titles = [ElementTree.fromstring(chart).attrib["aria-label"] for chart in charts]
    assert titles == [
        "Reward over iterations",
        "Reward over wall-clock time",
        "Effective sample share over optimizer steps",
        "Absolute log-ratio over optimizer steps",
        "KL divergence over optimizer steps",
        "Entropy over optimizer steps",
        "Seconds per iteration by what they were spent on",
        "Distribution of completion lengths",
    ]


def test_charts_take_their_colours_from_the_page_and_keep_text(finished: tuple[Run, str]) -> None:
    chart = re.findall(r"<svg.*?</svg>", finished[1], re.DOTALL)[0]
    assert "var(--blue)" in chart
    assert "#0000" not in chart
    assert "reward, held-out</text>" in chart


def test_nothing_is_fetched_from_elsewhere(finished: tuple[Run, str]) -> None:
    html = finished[1]
    page = Page(html)
    assert "script" not in page.tags
    assert "link" not in page.tags
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value is not None
            assert value.startswith("#")
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_what_a_model_wrote_is_shown_as_text(finished: tuple[Run, str]) -> None:
    html = finished[1]
    assert "<script>" not in html
    assert "&lt;script&gt;says&lt;/script&gt;" in html
    assert "&lt;b&gt;why&lt;/b&gt;" in html


def test_it_says_where_the_policy_is_and_that_it_is_not_registered(finished: tuple[Run, str]) -> None:
    run, html = finished
    assert run.store.locate(run.layout.policy(2)) in html
    assert f"python -m components.publish {run.uri}" in html


def test_the_configuration_is_in_it_and_nothing_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@environment")
    html = report(finished_run(tmp_path, tracking={"uri": "https://host"}).run)
    assert "pass_threshold: 1.0" in html
    assert "uri: https://host" in html
    assert "secret" not in html


def test_the_same_run_gives_the_same_page(finished: tuple[Run, str]) -> None:
    run, html = finished
    assert report(run) == html


def test_a_long_run_stays_below_a_megabyte(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=4, train={"updates": 2000, "mini_batch_prompts": 2}).run
    assert len(report(run).encode()) < 1_000_000


def test_no_iterations(tmp_path: Path) -> None:
    text = words(Page(report(finished_run(tmp_path, iterations=0).run)))
    assert "the base policy was evaluated only" in text
    assert "Optimisation" not in text
    assert "pass@1, held-out prompts" in text


@pytest.mark.parametrize("iterations", [0, 2])
def test_no_held_out_prompts(tmp_path: Path, iterations: int) -> None:
    text = words(Page(report(finished_run(tmp_path, iterations=iterations, eval_prompts=0).run)))
    assert "There are no held-out prompts" in text
    assert "pass@1" not in text


def test_a_run_grows_from_prepared_to_finished(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    assert "Nothing has been sampled" in words(Page(report(fake.run)))
    fake.round(Round.iteration(1))
    assert "Unfinished: 0 of 2 iterations" in words(Page(report(fake.run)))
    fake.train(1)
    text = words(Page(report(fake.run)))
    assert "Unfinished: 1 of 2 iterations" in text
    assert "The newest policy (1) has not been evaluated yet." in text


def test_a_run_that_reached_its_target(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    fake.iteration(1)
    fake.round(Round.iteration(2))
    fake.train(2, outcome="target_reached")
    assert "stopped after 1 of 2 iterations" in words(Page(report(fake.run)))


def test_a_round_of_which_a_shard_was_lost_is_left_out(tmp_path: Path) -> None:
    run = finished_run(tmp_path).run
    run.store.delete(manifest_key(run.layout.reward(Round.evaluation(2), 1)))
    text = words(Page(report(run)))
    assert "policy 2" not in text.split("Optimisation")[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0, "0%"), (0.004, "0.4%"), (0.5, "50%"), (1, "100%")])
def test_shares_for_people(value: float | None, text: str) -> None:
    assert percent(value) == text
