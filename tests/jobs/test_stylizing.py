"""Pictures that are painted: that they come closer, fit, and are gone on with."""

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import striate
from paintings import MODEL, write_network, write_pictures
from striate.costing.verify import measure_peak
from striate.data.images import read_image
from striate.errors import BudgetError, InterruptedRunError, NotFiniteError, StriateError, UsageError
from striate.files import save_tensors
from striate.jobs.painting.easel import Easel
from striate.jobs.painting.eye import Eye, open_eye
from striate.jobs.painting.memory import Fitting, make_optimizer, painting_step
from striate.jobs.painting.settings import StyleOptimizer, StyleSettings, aside_of, find_source, preview_of
from striate.jobs.painting.stylizing import StylePlan, StyleStep, Stylized, stylize
from striate.style.painting import look
from striate.units import parse_bytes


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paintings")
    write_pictures(folder)
    write_network(folder)
    return folder


@pytest.fixture
def settings(shared_folder: Path) -> StyleSettings:
    weights = shared_folder / "squeezenet.safetensors"
    return StyleSettings(model=MODEL, weights=weights, image_size=64, steps=6)


def painted(folder: Path, output: Path, settings: StyleSettings) -> tuple[StylePlan, list[StyleStep], Stylized]:
    plan, *steps, done = stylize(folder / "content.png", folder / "style.png", output, settings)
    assert isinstance(plan, StylePlan)
    assert isinstance(done, Stylized)
    return plan, [step for step in steps if isinstance(step, StyleStep)], done


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("opt", ["lbfgs", "adam"])
def test_from_noise_a_picture_comes_closer_to_both(
    shared_folder: Path, settings: StyleSettings, tmp_path: Path, opt: StyleOptimizer
) -> None:
    asked = replace(settings, opt=opt, init="noise", image_size=96, steps=12)
    _, steps, done = painted(shared_folder, tmp_path / "a.png", asked)
    assert [step.done for step in steps] == list(range(1, 13))
    first, last = steps[0].losses, steps[-1].losses
    assert last.content < 0.95 * first.content
    assert last.style < 0.8 * first.style
    assert done.size == (72, 96)
    assert pixels(done.path).shape == (72, 96, 3)
    assert done.worth.content.content == 0.0
    assert 0 < done.worth.painted.style < done.worth.content.style


def test_nothing_is_left_but_the_picture_and_the_preview_was_like_it(
    shared_folder: Path, settings: StyleSettings, tmp_path: Path
) -> None:
    output = tmp_path / "deep" / "a.jpg"
    previews = []
    for record in stylize(shared_folder / "content.png", shared_folder / "style.png", output, settings):
        if isinstance(record, StyleStep):
            previews.append(pixels(preview_of(output)))
            assert not output.exists()
    assert (previews[-1] == pixels(output)).all()
    assert (previews[0] != previews[-1]).any()
    assert list(output.parent.iterdir()) == [output]
    with pytest.raises(UsageError, match="which is there"):
        painted(shared_folder, output, settings)


@pytest.mark.parametrize("place", ["content", "style"])
@pytest.mark.parametrize("name", ["photo-preview.png", "photo.png.state"])
@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_picture_is_not_painted_over_what_it_is_painted_from(
    shared_folder: Path, settings: StyleSettings, tmp_path: Path, place: str, name: str, is_stopped: bool
) -> None:
    names = {each: shared_folder / f"{each}.png" for each in ("content", "style")}
    if is_stopped:
        preview_of(tmp_path / "photo.png").touch()
        aside_of(tmp_path / "photo.png").touch()
    users = tmp_path / name
    users.write_bytes(names[place].read_bytes())
    (tmp_path / "sub").mkdir()
    with pytest.raises(UsageError, match=rf"{name} can be written while it is painted.*as content or style"):
        list(
            stylize(**names | {place: tmp_path / "sub" / ".." / name}, output=tmp_path / "photo.png", settings=settings)
        )
    assert users.read_bytes() == names[place].read_bytes()


def test_a_file_of_the_users_is_not_taken_for_the_preview(
    shared_folder: Path, settings: StyleSettings, tmp_path: Path
) -> None:
    users = tmp_path / "photo-preview.png"
    users.write_bytes(b"the user's")
    with pytest.raises(UsageError, match="one that is there, without"):
        painted(shared_folder, tmp_path / "photo.png", settings)
    assert users.read_bytes() == b"the user's"


def test_what_is_given_up_leaves_no_preview_in_the_way(
    shared_folder: Path, settings: StyleSettings, tmp_path: Path
) -> None:
    output = tmp_path / "a.png"
    records = stylize(shared_folder / "content.png", shared_folder / "style.png", output, settings)
    assert isinstance(next(records), StylePlan)
    assert isinstance(next(records), StyleStep)
    assert preview_of(output).exists()
    records.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
    painted(shared_folder, output, settings)


@pytest.mark.parametrize("preserve_color", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_one_that_is_stopped_twice_ends_with_the_same_bits(
    shared_folder: Path, settings: StyleSettings, tmp_path: Path, preserve_color: bool
) -> None:
    """At 256 pixels there are two rungs: it is stopped on each."""
    asked = replace(settings, image_size=256, steps=3, preserve_color=preserve_color)
    plan, steps, _ = painted(shared_folder, tmp_path / "whole.png", asked)
    assert [(rung.side, rung.steps) for rung in plan.rungs] == [(128, 3), (256, 3)]
    output, seen = tmp_path / "parts.png", list[StyleStep]()
    for stop, name in ((2, signal.SIGINT), (5, signal.SIGTERM)):
        with pytest.raises(InterruptedRunError, match="The same command goes on") as stopped:
            for record in stylize(shared_folder / "content.png", shared_folder / "style.png", output, asked):
                if isinstance(record, StyleStep):
                    seen.append(record)
                    if record.done == stop:
                        os.kill(os.getpid(), name)
        assert f"after {stop} steps" in stopped.value.received
    again, rest, _ = painted(shared_folder, output, asked)
    assert again.begun == 5
    assert [step.losses for step in (*seen, *rest)] == [step.losses for step in steps]
    assert (pixels(output) == pixels(tmp_path / "whole.png")).all()


def test_what_was_asked_for_differently_is_not_gone_on_with(
    shared_folder: Path, settings: StyleSettings, tmp_path: Path
) -> None:
    output = tmp_path / "a.png"
    records = stylize(shared_folder / "content.png", shared_folder / "style.png", output, settings)
    with pytest.raises(InterruptedRunError):
        for record in records:
            if isinstance(record, StyleStep):
                os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(UsageError, match="style_weight 5.0, not 3.0"):
        painted(shared_folder, output, replace(settings, style_weight=5.0))
    aside_of(output).write_bytes(b"damaged")
    with pytest.raises(StriateError, match=r"a\.png\.state"):
        painted(shared_folder, output, settings)


def test_colours_that_are_kept_are_the_contents(shared_folder: Path, settings: StyleSettings, tmp_path: Path) -> None:
    _, _, done = painted(shared_folder, tmp_path / "a.png", replace(settings, preserve_color=True))

    def chroma(levels: np.ndarray) -> np.ndarray:
        return np.asarray(levels @ np.array([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]).T)

    made, content = (pixels(path).astype(float) for path in (done.path, shared_folder / "content.png"))
    shown = ((made > 0) & (made < 255)).all(2)  # What could be shown.
    assert shown.mean() > 0.8
    assert np.abs(chroma(made) - chroma(content))[shown].max() < 2


def eye_of(settings: StyleSettings) -> Eye:
    return open_eye(find_source(settings), "cpu")


@pytest.mark.parametrize(
    ("opt", "share"),
    [("lbfgs", 1.0), ("adam", 1.0), pytest.param("lbfgs", 0.85, marks=pytest.mark.slow)],
    ids=["lbfgs", "adam", "recomputed"],
)
def test_the_predicted_peak_of_a_step_is_the_measured_one(
    shared_folder: Path, settings: StyleSettings, opt: StyleOptimizer, share: float
) -> None:
    asked, side = replace(settings, opt=opt), 120
    eye = eye_of(asked)
    shown, style = (read_image(shared_folder / name, 3) for name in ("content.png", "style.png"))
    fitting = Fitting(eye, asked, shown.size, style.size)
    easel = Easel(eye, asked, shown, style, side)
    held = 4 * sum(height * width for height, width in easel.sizes(side))
    whole = fitting.within(side, parse_bytes("1GB"))
    assert whole is not None
    found = fitting.within(side, int(share * whole.peak * 1.02) + 1)
    assert found is not None
    assert bool(found.recompute) == (share < 1)
    assert found.plain == whole.peak
    aims = look(eye.row, eye.layers, *easel.inputs(side))
    optimizer = partial(make_optimizer, asked)
    step, _ = painting_step(eye, asked, easel.begun(side), aims, optimizer, found.recompute)
    assert measure_peak(step, "cpu") == pytest.approx(found.peak - held, rel=0.01)


@pytest.mark.slow
def test_recomputation_changes_no_bit(shared_folder: Path, settings: StyleSettings) -> None:
    eye, side = eye_of(settings), 120
    shown, style = (read_image(shared_folder / name, 3) for name in ("content.png", "style.png"))
    easel, fitting = Easel(eye, settings, shown, style, side), Fitting(eye, settings, shown.size, style.size)
    plain = fitting.within(side, parse_bytes("1GB"))
    assert plain is not None
    found = fitting.within(side, int(0.9 * plain.peak * 1.02))
    assert found is not None
    assert found.recompute
    images = []
    for recompute in ({}, found.recompute):
        image = easel.begun(side)
        aims = look(eye.row, eye.layers, *easel.inputs(side))
        step, _ = painting_step(eye, settings, image, aims, partial(make_optimizer, settings), recompute)
        step.begin()
        for _ in range(2):
            step.run(lambda _phase: nullcontext())
        images.append(image)
    assert torch.equal(*images)


@pytest.mark.slow
def test_within_too_little_memory_the_picture_is_smaller_or_refused(
    shared_folder: Path, settings: StyleSettings, tmp_path: Path
) -> None:
    asked = replace(settings, image_size=256, steps=2, memory="20MB")
    plan, steps, done = painted(shared_folder, tmp_path / "a.png", asked)
    assert plan.fit is not None
    assert 32 <= plan.rungs[-1].side < 256
    assert plan.fit.peak <= 20e6
    assert max(done.size) == max(steps[-1].size) == plan.rungs[-1].side
    assert done.peak == plan.fit.peak
    eye = eye_of(settings)
    larger = Fitting(eye, asked, (48, 64), (60, 50)).within(plan.rungs[-1].side + 8, parse_bytes("20MB"))
    assert larger is None
    with pytest.raises(BudgetError, match="32 pixels or more") as refused:
        painted(shared_folder, tmp_path / "b.png", replace(settings, memory="4MB"))
    least = refused.value.received
    assert "at the least" in least


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_size": 31}, "--image-size of 32 or more"),
        ({"steps": 0}, "--steps of 1 or more"),
        ({"style_weight": -1.0}, "--style-weight"),
        ({"tv_weight": float("nan")}, "--tv-weight"),
        ({"memory": "much"}, "a number of bytes"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        StyleSettings(**change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "vgg91"}, "Did you mean vgg19"),
        ({"model": "fcn8s"}, "for whole images in colour"),
        ({"model": "lenet5"}, "for whole images in colour"),
        ({"model": "mlp"}, "for whole images in colour"),
        ({"model": "vgg16"}, "missing"),
        ({"model": None}, "--model, whose weights"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"weights": None, "model": "vgg16"}, "--weights of vgg16"),
    ],
)
def test_weights_that_are_not_there_or_another_networks_are_refused(
    shared_folder: Path,
    settings: StyleSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setenv("STRIATE_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(StriateError, match=said):
        painted(shared_folder, tmp_path / "a.png", replace(settings, **change))


def test_weights_that_are_at_hand_are_found(
    shared_folder: Path, settings: StyleSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIATE_WEIGHTS", str(shared_folder))
    assert find_source(StyleSettings()) == (MODEL, shared_folder / "squeezenet.safetensors")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"no image", "no image that can be read"), (None, "of which something is left")],
    ids=["damaged", "narrow"],
)
def test_images_that_cannot_be_painted_are_refused(
    shared_folder: Path, settings: StyleSettings, tmp_path: Path, content: bytes | None, said: str
) -> None:
    bad = tmp_path / "bad.png"
    if content is None:
        Image.new("RGB", (600, 2)).save(bad)
    else:
        bad.write_bytes(content)
    for images in ((bad, shared_folder / "style.png"), (shared_folder / "content.png", bad)):
        with pytest.raises(UsageError, match=said):
            list(stylize(*images, tmp_path / "a.png", settings))


def test_losses_that_are_no_numbers_end_it(shared_folder: Path, settings: StyleSettings, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = striate.create_model(MODEL)
    with torch.no_grad():
        next(network.parameters()).fill_(float("inf"))
    weights = tmp_path / "bad.safetensors"
    save_tensors(weights, network.state_dict())
    with pytest.raises(NotFiniteError, match="step 1"):
        painted(shared_folder, tmp_path / "a.png", replace(settings, weights=weights))
