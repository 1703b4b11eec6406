"""Annotations with anything in them: boxes that can be learned, or a word on what is wrong; never a traceback."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from boxed_scenes import SIZE, coco_document, draw_things, voc_text
from striate.data.annotations import Annotation
from striate.data.coco import list_coco
from striate.data.outlines import draw
from striate.data.voc import VocFile
from striate.data.yolo import YoloFile
from striate.errors import UsageError

relaxed = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
numbers = st.integers() | st.floats() | st.sampled_from([0, 1, -1, 10**30, 10**400, 1e308])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["counts", "size", "id"]), inner),
    max_leaves=8,
)


def expect_learnable(annotation: Annotation) -> None:
    for instance in annotation.instances:
        left, top, right, bottom = instance.xyxy
        assert 0 <= left < right - 1 + 1e-9 <= SIZE[1]
        assert 0 <= top < bottom - 1 + 1e-9 <= SIZE[0]
        if instance.outline is not None:
            (mask,) = draw([instance.outline], SIZE)
            assert mask.shape == SIZE
    json.dumps([fault.text for fault in annotation.faults])


def places_of(document: Any) -> list[tuple[Any, Any]]:
    """Return every container with every key of it, through and through."""
    keys = range(len(document)) if isinstance(document, list) else document
    found = [(document, key) for key in keys]
    for inner in [document[key] for key in keys]:
        if isinstance(inner, dict | list):
            found += places_of(inner)
    return found


@relaxed
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), values), min_size=1, max_size=3))
@example(changes=[(0, {"a": 1})])
def test_json_files_with_anything_in_them(changes: list[tuple[int, Any]]) -> None:
    document = json.loads(json.dumps(coco_document(range(2))))
    for number, value in changes:
        places = places_of(document)
        container, key = places[number % len(places)]
        container[key] = value
    with TemporaryDirectory() as name:
        path = Path(name) / "some.json"
        path.write_text(json.dumps(document))
        for seed in range(2):
            Image.fromarray(draw_things(seed)[0]).save(path.parent / f"{seed}.png")
        try:
            items = list_coco(path).items
        except UsageError:
            return
        for item in items:
            assert item.annotated is not None
            expect_learnable(item.annotated.read(SIZE))


@relaxed
@given(text=st.text(st.sampled_from("0123456789 .-\nenaif"), max_size=40))
def test_lines_with_any_numbers_in_them(text: str) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "a.txt"
        path.write_text(text)
        expect_learnable(YoloFile(path, ("a", "b")).read(SIZE))


@relaxed
@given(place=st.integers(0, 10**6), more=st.binary(max_size=6), removed=st.integers(0, 9))
def test_xml_files_with_bytes_changed(place: int, more: bytes, removed: int) -> None:
    data = voc_text(draw_things(0)[1]).encode()
    start = place % len(data)
    with TemporaryDirectory() as name:
        path = Path(name) / "a.xml"
        path.write_bytes(data[:start] + more + data[start + removed :])
        expect_learnable(VocFile(path).read(SIZE))
