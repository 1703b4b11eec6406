"""What the README says, done as it says."""

import csv
import re
import shlex
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from tifffile import imwrite

from conftest import Done
from pages import README, ROOT, blocks, run, run_python
from paintings import write_network, write_pictures
from photographs import write_class
from scenes import write_scenes
from segmenters import picture, write_segmenter
from striate.data.embedded import load_digits
from striate.files import save_tensors
from striate.jobs.painting.settings import StyleSettings
from striate.units import format_count
from striate.zoo import ZOO, create_model


def run_here(commands: str, program: Callable[..., Done]) -> str:
    """Run commands of striate in this process, which has imported already what each of them would import anew."""
    out = []
    for name, *words in filter(None, (shlex.split(line, comments=True) for line in commands.splitlines())):
        assert name == "striate", name
        done = program(*words)
        assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        out.append(done.stdout)
    return "".join(out)


def test_the_two_commands(copy: Path) -> None:
    ready = Path(sys.prefix) / ".ready"
    sources = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
    if not ready.exists() or any(path.stat().st_mtime > ready.stat().st_mtime for path in sources):
        pytest.skip("this environment is not the one that make makes: run `make setup`")
    (both,) = (block for block in blocks("bash", README) if block.startswith("make"))
    out = run(both, copy)
    assert "61,706 parameters" in out
    assert "test accuracy" in out
    assert "digits test 3" in out
    assert "tests collected" in out or "selected" in out
    assert (copy / "runs/classify/demo/report.html").stat().st_size < 2_000_000
    (table,) = blocks("", README)
    for line in table.splitlines():
        cells = re.split(r"  +", line.strip())
        assert line == "..." or any(cells == re.split(r"  +", printed.strip()) for printed in out.splitlines()), line


def tour() -> tuple[str, list[str]]:
    """Return the commands that need no data of one's own, and all others, block by block."""
    first, *others = (
        block for block in blocks("bash", README) if not block.startswith("make") and "cat.jpg" not in block
    )
    return first, others


def parts_of_tour() -> tuple[str, str]:
    """Return the tour's commands that take seconds, and those that take longer: what they say is tested on less."""
    _, *lines = tour()[0].splitlines()
    longer = [line for line in lines if "--verify" in line or line.startswith("striate plan")]
    assert len(longer) == 2
    return "\n".join(line for line in lines if line not in longer), "\n".join(longer)


def test_the_tour_and_the_same_from_python(
    copy: Path, program: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    out = run_here(parts_of_tour()[0], program)
    accuracies = [float(share) for share in re.findall(r"test accuracy ([\d.]+)%", out)]
    assert len(accuracies) == 2
    assert min(accuracies) > 80
    assert "truth:" in out
    assert "12,613,600 bytes" in out
    from_python, architectures, _ = blocks("python", README)
    # Each by itself, so that neither takes the other's names.
    *lines, peak, line = run_python(f"for code in {[from_python, architectures]!r}:\n    exec(code, {{}})", copy)
    assert len(lines) == 7
    assert float(lines[2].split()[1]) > 0.9
    assert lines[-1] == "(3·3·1 + 1)·32 = 320"
    assert int(peak) > 1e9
    assert "'stage4': (2048, 28, 28)" in line


@pytest.mark.slow
def test_the_tours_longer_commands(copy: Path) -> None:
    out = run(". .venv/bin/activate\n" + parts_of_tour()[1], copy)
    (error,) = re.findall(r"predicted ([+-][\d.]+)%", out)
    assert abs(float(error)) < 0.5
    assert "predicted of 110.00 MB" in out


def test_boxes_around_things(copy: Path, program: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    (commands,) = (block for block in tour()[1] if "cells" in block)
    out = run_here(commands, program)
    assert "nothing to mend before training" in out
    assert "test AP " in out
    assert re.search(r"detections/\d+-things\.png", out)


@pytest.mark.slow
def test_data_of_ones_own(copy: Path) -> None:
    (copy / "daisy.jpg").write_bytes(next((copy / "flowers" / "val" / "daisy").iterdir()).read_bytes())
    out = run("export PATH=$PWD/.venv/bin:$PATH\n" + "\n".join(each for each in tour()[1] if "cells" not in each), copy)
    assert len(re.findall(r"test accuracy ([\d.]+)%", out)) == 3
    assert "two" in (copy / "runs.html").read_text(encoding="utf-8")
    assert "nothing to mend before training" in out
    assert "of the validation images right" in out
    assert "<svg" in (copy / "daisy.html").read_text(encoding="utf-8")
    assert "% on 3 test images" in out
    assert "the same outputs in ONNX Runtime on 12 images" in out


@pytest.mark.slow
def test_the_page_about_cost(copy: Path) -> None:
    page = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
    (commands,), (code,) = blocks("bash", page), blocks("python", page)
    out = run(f"export PATH=$PWD/.venv/bin:$PATH\n{commands}", copy)
    assert "CUDA card rtx3060" in out
    assert "<svg" in (copy / "googlenet.html").read_text(encoding="utf-8")
    whole, parts, *layers = run_python(code, copy)
    assert int(whole.split()[0]) > int(parts)
    assert len(layers) == 3


@pytest.mark.slow
def test_the_page_about_plans(copy: Path) -> None:
    page = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    (code,) = blocks("python", page)
    commands = [line for line in blocks("bash", page)[0].splitlines() if "lenet5" in line]  # Others take minutes.
    out = run("export PATH=$PWD/.venv/bin:$PATH\n" + "\n".join(commands), copy)
    assert out.count("predicted of 2.80 MB") == 2
    (line,) = run_python(code, copy)
    assert line.startswith("16 images")
    assert "operators run again" in line


@pytest.mark.slow
def test_the_page_about_images(copy: Path) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    commands = "\n".join(blocks("bash", page))
    out = run(f"export PATH=$PWD/.venv/bin:$PATH\n{commands}", copy)
    assert "train boxes" in out
    assert "<figure>" in (copy / "check-boxes.html").read_text(encoding="utf-8")
    assert "<figure>" in (copy / "check.html").read_text(encoding="utf-8")
    assert "<svg" in (copy / "val.html").read_text(encoding="utf-8")
    assert "val accuracy" in out
    assert out.count('"source": "flowers/val/') > 0


@pytest.mark.slow
def test_the_page_about_pixels(copy: Path) -> None:
    page = (ROOT / "docs" / "pixels.md").read_text(encoding="utf-8")
    write_scenes(copy / "scenes", {"": 20}, unknown=2)
    (copy / "scenes" / "classes.txt").write_text(blocks("", page)[0], encoding="utf-8")
    (commands,) = blocks("bash", page)
    out = run(f"export PATH=$PWD/.venv/bin:$PATH\n{commands}", copy)
    assert "nothing to mend before training" in out
    assert "<figure>" in (copy / "check-masks.html").read_text(encoding="utf-8")
    assert "IoU near borders" in (copy / "val-masks.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_about_style(copy: Path) -> None:
    page = (ROOT / "docs" / "style.md").read_text(encoding="utf-8")
    (commands,), (code,) = blocks("bash", page), blocks("python", page)
    for source, name in zip(write_pictures(copy), ("photo.jpg", "painting.jpg"), strict=True):
        Image.open(source).save(copy / name)
    write_network(copy)
    out = run(f"export PATH=$PWD/.venv/bin:$PATH\n{commands}", copy)
    assert out.count("half of each blended: ") == 2
    assert "<svg" in (copy / "painted.html").read_text(encoding="utf-8")
    assert (copy / "kept.png").is_file()
    *steps, worth = run_python(code, copy)
    assert len(steps) == 5
    assert worth.count("Distances(") == 2


@pytest.mark.slow
def test_the_page_about_things(copy: Path) -> None:
    page = (ROOT / "docs" / "things.md").read_text(encoding="utf-8")
    commands, (code,) = "\n".join(blocks("bash", page)), blocks("python", page)
    out = run(f"export PATH=$PWD/.venv/bin:$PATH\n{commands}", copy)
    assert "nothing to mend before training" in out
    assert "things in 6 images" in out
    assert "<svg" in (copy / "proposals.html").read_text(encoding="utf-8")
    assert re.search(r"found/\d+-things\.png", out)
    assert "Precision by recall" in (copy / "val-boxes.html").read_text(encoding="utf-8")
    assert len([line for line in run_python(code, copy) if ".png" in line]) >= 2


@pytest.mark.slow
def test_the_page_about_seeing_inside(copy: Path) -> None:
    (copy / "some").mkdir()
    for place, image in enumerate(load_digits().images[:4]):
        Image.fromarray(image[0].numpy()).resize((32, 32)).save(copy / "some" / f"{place}.png")
    (copy / "three.png").write_bytes((copy / "some" / "3.png").read_bytes())
    page = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    (commands,), (code,) = blocks("bash", page), blocks("python", page)
    out = run(f"export PATH=$PWD/.venv/bin:$PATH\n{commands}", copy)
    assert "<svg" in (copy / "explained.html").read_text(encoding="utf-8")
    assert (copy / "explained" / "grad-cam.png").is_file()
    assert out.count("filter 4 of features.c3: ") == 4
    assert "note: its weights are fresh" not in out
    assert '"trained": false' in out
    assert "ReLU, Xavier, batch norm" in out
    assert "<svg" in (copy / "charts" / "Activations_through_the_layers.svg").read_text(encoding="utf-8")
    assert len(run_python(code, copy)) == 2


@pytest.mark.slow
def test_the_page_about_images_of_any_size(copy: Path) -> None:
    write_segmenter(copy / "runs" / "segment" / "roads")
    write_class(copy / "photos", (90, 90, 90), range(3))
    imwrite(copy / "large.tif", picture((300, 420)), tile=(64, 64), photometric="rgb")
    page = (ROOT / "docs" / "predict.md").read_text(encoding="utf-8")
    (commands,), (code,) = blocks("bash", page), blocks("python", page)
    out = run(f"export PATH=$PWD/.venv/bin:$PATH\n{commands}", copy)
    assert "mask: masks/large-mask.tif, over the image: masks/large-overlay.png" in out
    assert out.count('"mask": "small/00') == 3
    before = (copy / "masks" / "large-mask.tif").read_bytes()
    (line,) = run_python(code, copy)
    assert line.startswith("masks/large-mask.tif 1 {'ground': ")
    assert (copy / "masks" / "large-mask.tif").read_bytes() == before


@pytest.mark.slow
def test_published_weights(copy: Path) -> None:
    """With weights of that network that nobody trained, and noise for a cat."""
    torch.manual_seed(0)
    save_tensors(copy / "mobilenet_v2.safetensors", create_model("mobilenet_v2").state_dict())
    (copy / "imagenet_classes.txt").write_text("\n".join(f"class {number}" for number in range(1000)))
    pixels = torch.randint(0, 256, (300, 400, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(copy / "cat.jpg")
    *_, published = blocks("python", README)
    assert run_python(published, copy) == []
    (command,) = (block for block in blocks("bash", README) if "cat.jpg" in block)
    out = run(f"export PATH=$PWD/.venv/bin:$PATH\n{command}", copy)
    assert "class" in out
    assert "begins with weights/mobilenet_v2; classifier.output afresh" in out
    assert "val accuracy" in out


def test_contributing_names_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert {"demo", "test", "setup", "check"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def rows_of(name: str, **chosen: str) -> list[dict[str, str]]:
    """Return the rows of a benchmark with these values that were measured at one commit, the last one."""
    with (ROOT / "benchmarks" / "results" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if chosen.items() <= row.items()]
    return [row for row in rows if row["commit"] == rows[-1]["commit"]]


@pytest.mark.parametrize(
    ("script", "recipe"),
    [("digits", "lenet5-digits"), ("digits_alexnet", "alexnet_28-digits"), ("mnist", "lenet5-mnist")],
)
def test_figures_are_those_of_the_measured_rows(script: str, recipe: str) -> None:
    (said,) = re.findall(rf"\| ([\d.]+) % \| `benchmarks/{script}.py` \|", README)
    last = [float(row["test_accuracy"]) for row in rows_of("accuracy", recipe=recipe)]
    assert len(last) == 3
    assert f"{statistics.mean(last):.2%}" == f"{said}%"


def test_the_figure_of_the_courses_network_is_that_of_its_row() -> None:
    (said,) = re.findall(r"\| ([\d.]+) % \| `benchmarks/mnist.py mnist_cnn-mnist` \|", README)
    (row,) = rows_of("accuracy", recipe="mnist_cnn-mnist")
    assert f"{float(row['test_accuracy']):.2%}" == f"{said}%"


@pytest.mark.parametrize("recipe", ["mnist-fast", "mnist-best"])
def test_figures_of_the_recipes_for_mnist_are_those_of_the_rows(recipe: str) -> None:
    ((accuracy, times),) = re.findall(rf"\| ([\d.]+) %, ([\d.]+) \| `benchmarks/mnist.py {recipe}` \|", README)
    rows = rows_of("accuracy", recipe=recipe)
    assert len(rows) == 5
    assert f"{statistics.mean(float(row['test_accuracy']) for row in rows):.2%}" == f"{accuracy}%"
    (one,) = (row for row in rows_of("mnist_yardstick", commit=rows[-1]["commit"]) if recipe in row["command"])
    seconds = statistics.mean(float(row["seconds"]) for row in rows)
    assert f"{seconds / float(one['seconds']):.2f}" == times


@pytest.mark.parametrize(("said", "way"), [("with `--amp`", "--amp"), ("with `--amp --compile`", "--amp --compile")])
def test_figures_of_the_loop_are_those_of_the_rows(said: str, way: str) -> None:
    (line,) = (each for each in README.splitlines() if f"{said} |" in each)
    rows = {row["model"]: row["times_plain"] for row in rows_of("throughput", way=f"striate {way}")}
    assert line.split(" | ")[1] == f"{rows['resnet18']} x, {rows['resnet50']} x"


def test_the_figure_of_the_loops_own_time_is_that_of_the_row() -> None:
    (said,) = re.findall(r"\| ([\d.]+) x \| `benchmarks/throughput.py overhead` \|", README)
    (row,) = rows_of("overhead", model="lenet5")
    assert row["times_bare"] == said


@pytest.mark.parametrize(("way", "seeds"), [("probe", 3), ("finetune", 3), ("scratch", 1)])
def test_figures_of_transfer_are_those_of_the_rows(way: str, seeds: int) -> None:
    ((accuracy, seconds),) = re.findall(rf"\| ([\d.]+) %, (\d+) s \| `benchmarks/transfer.py {way}` \|", README)
    rows = rows_of("transfer", way=way)
    assert len(rows) == seeds
    assert f"{statistics.mean(float(row['test_accuracy']) for row in rows):.2%}" == f"{accuracy}%"
    assert f"{statistics.mean(float(row['seconds']) for row in rows):.0f}" == seconds


def test_figures_of_one_pass_are_those_of_the_rows() -> None:
    small, large = rows_of("dense", model="vgg16")
    times = f"{float(small['times_faster']):.2f} x, {float(large['times_faster']):.2f} x"
    shares = f"{float(small['share']) * 100:.0f} %, {float(large['share']) * 100:.0f} %"
    assert (small["side"], large["side"]) == ("512", "1024")
    assert f"| {times}; {shares} | `benchmarks/dense.py` |" in README


def test_figures_of_prediction_are_those_of_the_rows() -> None:
    with (ROOT / "benchmarks" / "results" / "infer.csv").open(newline="", encoding="utf-8") as file:
        last = {row["model"]: row for row in csv.DictReader(file)}
    assert last.keys() == ZOO.keys()
    times = [float(row["striate, time"]) for row in last.values()]
    peaks = [int(row["striate, tensors"]) / int(row["eager, tensors"]) for row in last.values()]
    said = f"| {statistics.median(times):.2f}, {max(times):.2f}; {max(peaks):.2f} | `benchmarks/infer.py` |"
    assert said in README


def test_the_figure_of_a_large_image_is_that_of_the_row() -> None:
    *_, row = rows_of("large", side="8000")
    assert int(row["different"]) < 1e-5 * int(row["compared"])
    said = f"| {int(row['resident']) / 2**20:.0f} MiB, {float(row['seconds']):.0f} s | `benchmarks/large.py` |"
    assert said in README


def test_figures_of_pixels_are_those_of_the_rows() -> None:
    ways = ("fcn32s", "fcn16s", "fcn8s")
    rows = {way: rows_of("camvid", way=way) for way in ways}
    assert all(len(each) == 2 for each in rows.values())
    means = [statistics.mean(float(row["test_mean_iou"]) for row in rows[way]) for way in ways]
    assert " | ".join([", ".join(f"{mean * 100:.1f} %" for mean in means), "`benchmarks/camvid.py` |"]) in README
    (best,) = rows_of("camvid", way="best")
    said = (
        f"| {float(best['test_mean_iou']) * 100:.1f} %, {float(best['seconds']):.0f} s | `benchmarks/camvid.py best` |"
    )
    assert said in README
    page = (ROOT / "docs" / "pixels.md").read_text(encoding="utf-8")
    for way in ways:
        cells = []
        for name in ("mean_iou", "trimap_iou", "pixel_accuracy"):
            values = sorted(100 * float(row[f"test_{name}"]) for row in rows[way])
            cells.append(f"{statistics.mean(values):.1f} % ({values[0]:.1f} to {values[-1]:.1f})")
        assert f"| `{way}` | {' | '.join(cells)} |" in page


@pytest.mark.parametrize("way", ["pairs", "others"])
def test_figures_of_style_are_those_of_the_rows(way: str) -> None:
    rows = rows_of("style", way=way, image_size="512")
    assert len({(row["content"], row["style"]) for row in rows}) == len(rows) == 4
    page, shares = (ROOT / "docs" / "style.md").read_text(encoding="utf-8"), dict[str, list[float]]()
    for row in rows:
        distances = [
            f"{float(row[f'{which}_from_{what}']):.3f}"
            for what in ("content", "style")
            for which in ("painted", "blend", "content", "style")
        ]
        assert f"| `{row['content']}`, `{row['style']}` | {' | '.join(distances)} |" in page
        for what in ("content", "style"):
            share = float(row[f"painted_from_{what}"]) / float(row[f"blend_from_{what}"])
            shares.setdefault(what, []).append(share)
    figures = ", ".join(f"{max(each):.2f}" for each in shares.values())
    assert f"| {figures} | `benchmarks/style.py {way}` |" in README
    assert max(map(max, shares.values())) < 1


def test_figures_of_weights_of_the_style_are_those_of_the_rows() -> None:
    rows = rows_of("style", way="weights")
    page = (ROOT / "docs" / "style.md").read_text(encoding="utf-8")
    assert f"| `--style-weight` | {' | '.join(row['style_weight'] for row in rows)} | half of each |" in page
    for what in ("content", "style"):
        figures = [row[f"painted_from_{what}"] for row in rows] + [rows[0][f"blend_from_{what}"]]
        assert f"| from the {what} | {' | '.join(f'{float(figure):.3f}' for figure in figures)} |" in page


def test_figures_of_twice_the_size_are_those_of_the_rows() -> None:
    small, large = rows_of("style", way="sizes")
    assert (small["image_size"], large["image_size"]) == ("512", "1024")

    def loss(row: dict[str, str]) -> float:
        weights = StyleSettings()
        return (
            weights.content_weight * float(row["last_content"])
            + weights.style_weight * float(row["last_style"])
            + weights.tv_weight * float(row["last_variation"])
        )

    times, losses = float(large["cpu_seconds"]) / float(small["cpu_seconds"]), loss(large) / loss(small)
    assert f"| {times:.2f} x, {losses:.2f} x | `benchmarks/style.py sizes` |" in README
    page = (ROOT / "docs" / "style.md").read_text(encoding="utf-8")
    for row in (small, large):
        figures = [f"{float(row[f'last_{what}']):.4f}" for what in ("content", "style", "variation")]
        assert f"| {' | '.join(figures)} | {loss(row):.3f} |" in page
    assert f"{times:.2f} times the time" in page


def test_figures_of_suppression_are_those_of_the_rows() -> None:
    rows = rows_of("detect")
    pairs = [
        [f"{row['times_faster']} x" for row in rows if row["kind"] == kind]
        for kind in ("uniform", "clusters", "anchors")
    ]
    assert f"| {'; '.join(map(', '.join, pairs))} | `benchmarks/detect.py` |" in README
    (align,) = (row for row in rows if row["what"] == "RoI align")
    assert f"| {align['times_faster']} x | `benchmarks/detect.py` |" in README


def test_figures_of_things_are_those_of_the_rows() -> None:
    page = (ROOT / "docs" / "things.md").read_text(encoding="utf-8")
    (cells,), (people,) = rows_of("detectors", way="bccd"), rows_of("detectors", way="pennfudan")

    def share(row: dict[str, str], name: str) -> str:
        return f"{float(row[f'test_{name}']) * 100:.1f} %"

    seconds = [f"{float(row['seconds']):.0f} s" for row in (cells, people)]
    assert f"| {share(cells, 'ap50')}, {seconds[0]} | `benchmarks/detectors.py bccd` |" in README
    for model in ("rcnn", "fast_rcnn", "faster_rcnn", "yolo", "yolov3"):
        (other,) = rows_of("detectors", way=f"bccd-{model}")
        figures = f"{share(other, 'ap50')}, {float(other['seconds']):.0f} s"
        assert f"| {figures} | `benchmarks/detectors.py bccd-{model}` |" in README
        assert f"| {share(other, 'ap50')} | {share(other, 'ap')} | | {float(other['seconds']):.0f} s |" in page
    assert (
        f"| {share(people, 'ap')}, {share(people, 'mask_ap')}, {seconds[1]} | `benchmarks/detectors.py penn" in README
    )
    assert f"| {share(cells, 'ap50')} | {share(cells, 'ap')} | | {seconds[0]} |" in page
    boxes, masks = (share(people, name) for name in ("ap", "mask_ap"))
    assert f"| {share(people, 'ap50')} | {boxes} | {masks} | {seconds[1]} |" in page


def test_figures_of_compared_detectors_are_those_of_the_rows() -> None:
    page = (ROOT / "docs" / "things.md").read_text(encoding="utf-8")
    rows = rows_of("compared_detectors", data="bccd")
    assert len(rows) == 5
    for row in rows:
        seconds = [float(row[f"{part}_seconds"]) for part in ("proposals", "features", "heads")]
        peaks = [f"{int(row[name]) / 1e6:.0f} MB" for name in ("predicting", "training")]
        disk = f"{int(row['disk']) / 1e6:.0f} MB" if int(row["disk"]) else ""
        figures = [f"{each:.2f}" for each in (sum(seconds), *seconds)]
        cells = [f"{float(row['ap50']) * 100:.1f} %", *figures, *peaks, disk, f"{float(row['trained']) / 60:.0f} min"]
        assert f"| `{row['model']}` | {' | '.join(cells)} |" in page
    totals = [sum(float(row[f"{part}_seconds"]) for part in ("proposals", "features", "heads")) for row in rows]
    said = ", ".join(f"{total:.2f} s" for total in totals)
    assert f"| {said} | `benchmarks/detectors.py --compare bccd` |" in README


@pytest.mark.parametrize(
    ("said", "which", "tool"),
    [
        ("29 classifiers", "zoo", "striate"),
        ("in micro-batches", "half", "striate"),
        ("not in the zoo", "odd", "striate"),
        ("that find things", "detectors", "striate"),
        ("by torchinfo", "peers", "torchinfo"),
        ("by a plain count", "peers", "fake tensors"),
        ("by torch's MemTracker", "peers", "MemTracker"),
    ],
)
def test_figures_of_predicted_peaks_are_those_of_the_rows(said: str, which: str, tool: str) -> None:
    lines = [line for line in README.splitlines() if said in line and f"`benchmarks/cost.py {which}`" in line]
    (figures,) = re.findall(r", (\d+) programs.* median ([\d.]+) %, largest ([\d.]+) %", "".join(lines))
    last = [abs(float(row["error"])) for row in rows_of("cost", set=which, tool=tool)]
    assert figures == (str(len(last)), f"{statistics.median(last):.3%}"[:-1], f"{max(last):.2%}"[:-1])


def test_figures_of_a_card_are_those_of_the_rows() -> None:
    (line,) = (line for line in README.splitlines() if "`benchmarks/card.py`" in line)
    by = {row["predicted_by"]: row["commit"] for row in rows_of("card")}
    said = []
    for version in by:
        errors = [abs(float(row["error"])) for row in rows_of("card", predicted_by=version)]
        assert f", {len(errors)} programs" in line
        said.append(f"median {statistics.median(errors):.3%}, largest {max(errors):.2%}".replace("%", " %"))
    assert line.split(" | ")[1] == f"{said[0]}; {said[-1]}"
    assert by.popitem()[0] not in by.values()  # The last predictions were made after the programs were measured.


@pytest.mark.parametrize(
    ("said", "ways"),
    [
        ("with gradients unchanged", [f"{less} times less, gradients unchanged" for less in ("1.6", "1.9", "2.7")]),
        ("the same in micro-batches |", ["2.7 times less", "5.0 times less"]),
        ("around each block by hand", ["checkpoint, each block", "checkpoint, square root"]),
    ],
)
def test_figures_of_planned_steps_are_those_of_the_rows(said: str, ways: list[str]) -> None:
    (line,) = (line for line in README.splitlines() if said in line and "`benchmarks/plan.py table`" in line)
    last = {row["way"]: row for row in rows_of("plan", network="resnet50")}
    plain = int(last["plain"]["measured"])
    figures = [f"{plain / int(last[way]['measured']):.2f} x, {float(last[way]['time']):.2f}" for way in ways]
    assert line.split(" | ")[1] == "; ".join(figures)


def test_figures_of_random_plans_are_those_of_the_rows() -> None:
    last = rows_of("plan_triples")
    fitting = [row for row in last if row["fits"] == "True"]
    over = sum(int(row["measured"]) > int(row["budget"]) for row in fitting)
    errors = [abs(int(row["predicted"]) / int(row["measured"]) - 1) for row in last]
    counts, error = re.findall(r"\| ([^|]*) \| `benchmarks/plan.py triples`", README)
    assert len(last) == 60
    assert counts == f"{len(fitting)}, {over}"
    assert error == f"median {statistics.median(errors):.3%}, largest {max(errors):.2%}".replace("%", " %")


def test_figures_of_predicting_itself_are_those_of_the_last_row() -> None:
    *_, row = rows_of("cost_itself")
    (said,) = re.findall(r"\| ([\d.]+) s; ([\d.]+) s cold; (\d+) MB \| `benchmarks/cost_itself.py`", README)
    seconds = [f"{float(row[f'seconds_{name}']):.2f}" for name in ("warm_8", "cold")]
    assert said == (*seconds, f"{int(row['bytes_beyond']) / 1e6:.0f}")


def test_every_network_is_in_the_tables_with_its_size() -> None:
    page = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| ([\d.]+ \w) \|", page, re.MULTILINE)
    assert said == [(e.name, f"{e.parameters:,}", format_count(e.macs)) for e in ZOO.values()]
    for entry in ZOO.values():
        assert entry.with_aux_heads is None or f"`{entry.name}` " in page
        assert entry.with_aux_heads is None or f"{entry.with_aux_heads:,}" in page
    families = README[README.index("## Networks") : README.index("## License")]
    assert sorted(re.findall(r"`(\w+)`", families)) == sorted(ZOO)
