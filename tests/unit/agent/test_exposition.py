"""The text of metrics, read back by the official parser."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from holter.agent.exposition import COUNTER, GAUGE, HISTOGRAM, Distribution, Family, Sample, text

ANY = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


@given(st.lists(st.tuples(ANY, ANY, st.floats(allow_nan=False, allow_infinity=False)), max_size=5), ANY)
def test_any_name_and_any_value_is_read_back_as_it_was(
    values: list[tuple[str, str, float]], said: str
) -> None:
    samples = [Sample(value, {"job": job, "project": project}) for job, project, value in values]
    (read,) = text_string_to_metric_families(
        text([Family("holter_x", GAUGE, said, (Sample(1), *samples))]).replace("\r", "")
    )
    found = [(each.labels, each.value) for each in read.samples]
    wanted = [(dict(each.labels), each.value) for each in samples]
    assert found == [({}, 1.0), *((_without_returns(labels), value) for labels, value in wanted)]


def _without_returns(labels: dict[str, str]) -> dict[str, str]:
    return {name: value.replace("\r", "") for name, value in labels.items()}


def test_lone_surrogates_of_odd_names_do_not_break_the_page() -> None:
    page = text([Family("holter_x", GAUGE, "", (Sample(1, {"job": "caf\udce9"}),))])
    assert page.encode() == b'# HELP holter_x \n# TYPE holter_x gauge\nholter_x{job="caf?"} 1\n'


def test_a_histogram_counts_upwards_to_all_and_has_a_sum() -> None:
    value = Distribution((0.5, 10.0), (1, 0, 2), 75.5)
    (read,) = text_string_to_metric_families(
        text([Family("h", HISTOGRAM, "s", (Sample(value, {"a": "b"}),))])
    )
    buckets = [(float(each.labels["le"]), each.value) for each in read.samples if each.name == "h_bucket"]
    assert buckets == [(0.5, 1), (10.0, 1), (inf, 3)]
    rest = {each.name: each.value for each in read.samples if each.name != "h_bucket"}
    assert rest == {"h_sum": 75.5, "h_count": 3}


def test_a_family_without_a_sample_is_left_out() -> None:
    assert text([Family("holter_x_total", COUNTER, "said", ())]) == ""
