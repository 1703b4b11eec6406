"""``striate plan`` as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Done

Run = Callable[..., Done]
NETWORK = ("squeezenet1_0", "--image-size", "48", "-b", "16", "--num-classes", "10", "--lossless")


def test_a_plan_in_words_and_on_a_page(program: Run, tmp_path: Path) -> None:
    done = program("plan", *NETWORK, "--memory", "16MB", "--html", "plan.html")
    assert done.returncode == 0, done.stderr
    for part in (
        *("predicted of 16.00 MB", "operators run again", "Each remedy alone", "recomputation"),
        *("(measured)", "of the whole process", "█" * 20, "page: plan.html"),
    ):
        assert part in done.stdout
    page = (tmp_path / "plan.html").read_text()
    assert "<svg" in page
    assert "aten.relu_.default" in page


def test_a_plan_as_a_document(program: Run) -> None:
    """Of a network with fewer operators, each of which is traced and timed."""
    done = program("plan", "alexnet_28", "-b", "64", "--lossless", "--memory", "130MB", "--json")
    told = json.loads(done.stdout)
    assert told["fits"] is True
    assert told["peak_bytes"] <= told["budget_bytes"] == 130_000_000 < told["plain_bytes"]
    assert (told["micro_batch"], told["accumulate"], told["dtype"], told["devices"]) == (64, 1, "float32", 1)
    assert told["channels_last"] is True
    assert {"place", "operator", "layer"} == told["recompute"][0].keys()
    assert {"name", "peak_bytes", "relative_time", "changes_result"} == told["remedies"][0].keys()
    assert told["remedies"][0]["name"] == "micro-batches of 1"
    assert told["remedies"][0]["changes_result"] == "rounding", "it has no batch norm whose statistics could change"
    assert told["frontier"][0]["relative_time"] == 1.0


@pytest.mark.slow
def test_where_nothing_fits_it_says_what_would(program: Run) -> None:
    done = program("plan", *NETWORK, "--memory", "5MB", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["fits"]) == (1, False)
    text = program("plan", *NETWORK, "--memory", "5MB")
    assert text.returncode == 1
    assert "Nothing fits. The smallest budget that would is" in text.stdout


def test_without_a_batch_the_largest_is_said(program: Run) -> None:
    done = program("plan", "lenet5", "--memory", "10MB", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    sizes = {fit["name"]: fit["batch_size"] for fit in told["fits"]}
    assert sizes.keys() == {"plain", "16-bit floats", "gradients freed early", "recomputation", "all of these"}
    assert 0 < sizes["plain"] <= sizes["recomputation"]
    assert sizes["plain"] < sizes["16-bit floats"] <= sizes["all of these"]
    assert all(fit["relative_time"] > 0 for fit in told["fits"])
    assert program("plan", "lenet5", "--memory", "10kB").returncode == 1


def test_wrong_flags_are_refused(program: Run) -> None:
    for flags, part in (
        (("lenet5", "-b", "2", "--memory", "4G"), "Units: kB"),
        (("lenet5", "-b", "2"), "expected --memory"),
        (("lenet5", "--memory", "1GB", "--devices", "2"), "expected --devices and --allow with --batch-size"),
        (("lenet55", "-b", "2", "--memory", "1GB"), "Did you mean lenet5"),
        (("lenet5", "-b", "2", "--memory", "90000GB"), "this machine has"),
        (("lenet5", "--memory", "1GB", "--html", "x.html"), "A page is of one plan"),
    ):
        done = program("plan", *flags)
        assert done.returncode == 2
        assert part in done.stderr
