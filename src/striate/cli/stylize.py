"""``striate stylize``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from striate.cli.allocator import keep_freed_memory, return_freed_memory
from striate.jobs.painting.settings import Device, Init, StyleOptimizer, StyleSettings, check_style, preview_of
from striate.jobs.usage import check_page

if TYPE_CHECKING:
    from rich.console import Console

    from striate.jobs.painting.stylizing import StylePlan, Stylized

USUAL = StyleSettings()


def stylize(
    content: Annotated[Path, typer.Argument(help="image of what is to be shown", show_default=False)],
    style: Annotated[Path, typer.Argument(help="image in whose style", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="the picture, a new file", show_default=False)
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="of the network that looks: a file, a folder or hub; vgg19, vgg16 or squeezenet1_0 that is at hand "
            "by default",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="whose weights these are; their folder may say", show_default=False)
    ] = None,
    image_size: Annotated[int, typer.Option(help="pixels of the longer side")] = USUAL.image_size,
    steps: Annotated[int, typer.Option(help="on the coarsest size; on each next one 5/8 as many")] = USUAL.steps,
    content_weight: Annotated[float, typer.Option(help="how much what is shown counts")] = USUAL.content_weight,
    style_weight: Annotated[float, typer.Option(help="how much the style counts")] = USUAL.style_weight,
    tv_weight: Annotated[float, typer.Option(help="how much smoothness counts")] = USUAL.tv_weight,
    preserve_color: Annotated[bool, typer.Option("--preserve-color", help="keep the content's colours")] = False,
    opt: Annotated[StyleOptimizer, typer.Option(help="the optimizer")] = USUAL.opt,
    init: Annotated[Init, typer.Option(help="what the picture begins as")] = USUAL.init,
    memory: Annotated[
        str | None, typer.Option(help="bytes that it may take, such as 500MB or 50%", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="of the noise to begin with")] = USUAL.seed,
    device: Annotated[Device, typer.Option(help="where it is computed")] = USUAL.device,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write pictures, losses and distances as one page")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one document on standard output")] = False,
) -> None:
    """Paint what one image shows in the style of another.

    A preview is written beside the picture while it goes on. Stopped, the same command goes on.
    """
    settings = StyleSettings(
        model=model,
        weights=weights,
        image_size=image_size,
        steps=steps,
        content_weight=content_weight,
        style_weight=style_weight,
        tv_weight=tv_weight,
        preserve_color=preserve_color,
        opt=opt,
        init=init,
        memory=memory,
        seed=seed,
        device=device,
    )
    check_style(content, style, output, settings)
    check_page(html)
    if memory is None:
        keep_freed_memory()
    else:
        return_freed_memory()

    from rich.console import Console

    from striate.cli.bars import bars
    from striate.cli.tables import say
    from striate.jobs.painting.page import in_words, write_stylized_page
    from striate.jobs.painting.stylizing import StylePlan, StyleStep, Stylized
    from striate.jobs.painting.stylizing import stylize as job
    from striate.units import format_size

    out, err = Console(), Console(stderr=True)
    plan: StylePlan | None = None
    done: Stylized | None = None
    course = list[StyleStep]()
    with bars(err) as progress:
        bar = progress.add_task("", total=None, visible=False, state="")
        for record in job(content, style, output, settings):
            match record:
                case StylePlan():
                    plan = record
                    _say_plan(err, plan)
                    say(err, f"preview: {preview_of(output)}")
                case StyleStep():
                    course.append(record)
                    state = (
                        f"{record.done:,}/{record.total:,}, content {record.losses.content:.3f}, "
                        f"style {record.losses.style:.3f},"
                    )
                    what = f"{record.what} at {format_size(record.size)}"
                    progress.update(
                        bar, total=record.total, completed=record.done, description=what, state=state, visible=True
                    )
                case Stylized():
                    done = record
    assert plan is not None
    assert done is not None
    if html is not None:
        write_stylized_page(html, content, style, done, course)
    if as_json:
        print(json.dumps(_document(plan, done), indent=2))
        return
    for line in in_words(done):
        say(out, line)
    if html is not None:
        print(f"page: {html}")


def _say_plan(err: "Console", plan: "StylePlan") -> None:
    from striate.cli.tables import say
    from striate.units import format_bytes, format_number

    rungs = ", ".join(f"{rung.side} px for {format_number(rung.steps, 'step')}" for rung in plan.rungs)
    say(err, f"{plan.model}, weights {plan.origin}: {rungs}")
    if plan.rungs[-1].side < plan.asked:
        say(err, f"note: no more than {plan.rungs[-1].side} of {plan.asked} px fit into the memory that was granted")
    if plan.fit is not None:
        again = f"; {len(plan.fit.recompute)} operators run again" if plan.fit.recompute else ""
        without = "" if not again else f", without that {format_bytes(plan.fit.plain)}"
        say(err, f"predicted to take {format_bytes(plan.fit.peak)}{again}{without}")
    if plan.begun:
        say(err, f"goes on after {format_number(plan.begun, 'step')}")


def _document(plan: "StylePlan", done: "Stylized") -> dict[str, Any]:
    return {
        "picture": str(done.path),
        "size": done.size,
        "model": plan.model,
        "weights": plan.origin,
        "asked_image_size": plan.asked,
        "sizes": [{"side": rung.side, "steps": rung.steps} for rung in plan.rungs],
        "distances": {name: each._asdict() for name, each in done.worth._asdict().items()},
        "predicted_peak_bytes": done.peak,
        "recomputed_operators": 0 if plan.fit is None else len(plan.fit.recompute),
        "seconds": done.seconds,
    }
