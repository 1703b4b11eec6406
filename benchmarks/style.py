"""Photographs in the style of paintings: python benchmarks/style.py [pairs|others|weights|sizes|pictures].

``pairs`` paints each of two photographs in the style of each of two paintings, and says how far the picture is from
content and style on maps of the network that it was not painted by, beside the content and the style themselves and
half of each blended. ``others`` does the same with two photographs and two paintings that no default was chosen by.
``weights`` paints one with weights of the style from small to large. ``sizes`` paints one at 512 and at 1,024 pixels,
and says how long each took and with which losses it ended. The network is SqueezeNet of ImageNet; with --model and
--weights, any. Each picture becomes a row of ``style.csv``, and lies in ``runs/benchmarks/style`` with its page; one
that was cut off is gone on with. ``pictures`` makes of the pairs and the weights what ``docs/pictures`` has of them.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image, ImageOps

from record import ROOT, append_row, commit, read_rows
from striate.cli.allocator import keep_freed_memory
from striate.jobs.painting.page import write_stylized_page
from striate.jobs.painting.settings import StyleSettings
from striate.jobs.painting.stylizing import StylePlan, StyleStep, Stylized, stylize

SHARED = (ROOT.parent / "shared" / "data").resolve()
PHOTOGRAPHS = {
    "amber": SHARED / "style-transfer" / "content" / "amber.jpg",
    **{name: SHARED / "photos" / f"{name}.png" for name in ("chelsea", "astronaut", "coffee")},
}
PAINTINGS = {
    name: SHARED / "style-transfer" / "style" / f"{name}.jpg"
    for name in ("the_scream", "wave", "udnie", "the_shipwreck_of_the_minotaur")
}
PAIRS = {
    "pairs": (("amber", "chelsea"), ("the_scream", "wave")),
    "others": (("astronaut", "coffee"), ("udnie", "the_shipwreck_of_the_minotaur")),
}
WEIGHTS = SHARED / "imagenet-pretrained" / "squeezenet1_0_deepcompressed_fp32.safetensors"
SIZES = 512, 1024
USUAL = StyleSettings().style_weight
STYLE_WEIGHTS = 1.0, USUAL, 10.0, 30.0
FOLDER = ROOT / "runs" / "benchmarks" / "style"
SHOWN = 320  # Pixels of a square that each picture is shown in.


def file_of(way: str, content: str, style: str, size: int, model: str, style_weight: float = USUAL) -> Path:
    """Return the file of a picture that this commit paints."""
    return FOLDER / f"{way}-{content}-{style}-{size}-{model}-{style_weight:g}-{commit()}.png"


def measure(way: str, content: str, style: str, size: int, model: str, weights: Path, style_weight: float) -> None:
    """Paint one picture, unless there is a row of it, and append its row."""
    settings = StyleSettings(model=model, weights=weights, image_size=size, style_weight=style_weight)
    asked = (way, content, style, str(size), model, f"{style_weight:g}", commit())
    names = ("way", "content", "style", "image_size", "model", "style_weight", "commit")
    if asked in [tuple(row.get(name) for name in names) for row in read_rows("style")]:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    output, course = file_of(way, content, style, size, model, style_weight), list[StyleStep]()
    output.unlink(missing_ok=True)  # Of a run that ended before its row was there.
    whole, began = True, time.process_time()
    for record in stylize(PHOTOGRAPHS[content], PAINTINGS[style], output, settings):
        if isinstance(record, StylePlan):
            whole = record.begun == 0
        elif isinstance(record, StyleStep):
            course.append(record)
        elif isinstance(record, Stylized):
            spent = round(time.process_time() - began, 1) if whole else ""  # What came before is not known.
            output.with_suffix(".json").write_text(json.dumps([step.losses._asdict() for step in course]))
            page = output.with_suffix(".html")
            write_stylized_page(page, PHOTOGRAPHS[content], PAINTINGS[style], record, course)
            distances = {
                f"{which}_from_{what}": round(getattr(each, what), 4)
                for which, each in record.worth._asdict().items()
                for what in ("content", "style")
            }
            last = {f"last_{what}": round(loss, 4) for what, loss in course[-1].losses._asdict().items()}
            figures = dict(zip(names[:-1], asked[:-1], strict=True))
            steps, seconds = course[-1].total, round(record.seconds, 1)
            append_row("style", **figures, steps=steps, **distances, **last, seconds=seconds, cpu_seconds=spent)


def tell() -> None:
    """Print what this commit's pictures came to."""
    rows = [row for row in read_rows("style") if row["commit"] == commit()]
    for row in rows:
        far = "; ".join(
            f"{which} {row[f'{which}_from_content']} from the content, {row[f'{which}_from_style']} from the style"
            for which in ("painted", "blend", "content", "style")
        )
        losses = f"losses at the end {row['last_content']}, {row['last_style']}"
        asked = f"{row['content']}, {row['style']}, {row['image_size']} px, weight {row['style_weight']}"
        print(f"{asked}: {far}; {losses}, {row['seconds']} s")
    for what in ("seconds", "cpu_seconds"):
        times = {int(row["image_size"]): float(row[what]) for row in rows if row["way"] == "sizes" and row[what]}
        if set(SIZES) <= set(times):
            small, large = SIZES
            print(f"{large} px over {small} px: {times[large] / times[small]:.2f} x the {what.replace('_', ' ')}")


def show(size: int, model: str) -> None:
    """Write the pairs' pictures beside what they are of, and the course of their losses."""
    folder = ROOT / "docs" / "pictures"
    folder.mkdir(exist_ok=True)
    contents, styles = PAIRS["pairs"]
    sheet = Image.new("RGB", (SHOWN * (1 + len(styles)), SHOWN * (1 + len(contents))), "white")

    def place(path: Path, column: int, row: int) -> None:
        with Image.open(path) as image:
            shown = ImageOps.pad(image.convert("RGB"), (SHOWN - 8, SHOWN - 8), color="white")
        sheet.paste(shown, (SHOWN * column + 4, SHOWN * row + 4))

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(len(contents), len(styles), sharex=True, sharey=True)
    for column, style in enumerate(styles):
        place(PAINTINGS[style], column + 1, 0)
        for row, content in enumerate(contents):
            path = file_of("pairs", content, style, size, model)
            place(path, column + 1, row + 1)
            course = json.loads(path.with_suffix(".json").read_text())
            axes = panels[row][column]
            for what in ("content", "style"):
                axes.plot([losses[what] or None for losses in course], label=what)  # It begins as the content.
            axes.set(title=f"{content}, {style}", yscale="log")
            axes.spines[["top", "right"]].set_visible(False)
    for row, content in enumerate(contents):
        place(PHOTOGRAPHS[content], 0, row + 1)
    strip = Image.new("RGB", (SHOWN * len(STYLE_WEIGHTS), SHOWN), "white")
    for column, style_weight in enumerate(STYLE_WEIGHTS):
        with Image.open(file_of("weights", contents[0], styles[0], size, model, style_weight)) as image:
            strip.paste(ImageOps.pad(image, (SHOWN - 8, SHOWN - 8), color="white"), (SHOWN * column + 4, 4))
    panels[0][0].legend(frameon=False)
    figure.supxlabel("step")
    figure.supylabel("loss")
    for name, picture in (("style", sheet), ("style-weights", strip)):
        picture.save(folder / f"{name}.jpg", quality=80, optimize=True)
    figure.savefig(folder / "style-losses.png", dpi=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Pictures in the style of paintings.")
    parser.add_argument(
        "ways",
        nargs="*",
        default=[*PAIRS, "weights", "sizes"],
        metavar="|".join([*PAIRS, "weights", "sizes", "pictures"]),
    )
    parser.add_argument("--image-size", type=int, default=512, help="of all but sizes; default: %(default)s")
    parser.add_argument("--model", default="squeezenet1_0")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    keep_freed_memory()  # As `striate stylize` does.
    for way in options.ways:
        if way == "pictures":
            show(options.image_size, options.model)
            continue
        style_weights = STYLE_WEIGHTS if way == "weights" else (USUAL,)
        sides = SIZES if way == "sizes" else (options.image_size,)
        contents, styles = PAIRS.get(way, (("amber",), ("the_scream",)))
        for side, content, style, style_weight in product(sides, contents, styles, style_weights):
            measure(way, content, style, side, options.model, options.weights, style_weight)
    tell()
