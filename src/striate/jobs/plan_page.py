"""What a plan does, as a page or a part of one."""

from pathlib import Path

from striate.planning.plan import Plan
from striate.reporting.figures import frontier
from striate.reporting.page import Page
from striate.units import format_bytes


def write_plan_page(path: Path, program: str, plan: Plan) -> None:
    """Write one self-contained page.

    Args:
        path: of the file.
        program: what is run, in words.
        plan: of it.

    Raises:
        StriateError: where the file system refuses.
    """
    page = Page(program, "A plan that fits" if plan.fits else "No plan fits; this one comes closest")
    add_plan(page, plan)
    if plan.recompute:
        page.heading("Made again for the gradients")
        page.table(["operator", "layer"], [(again.operator, again.layer) for again in plan.recompute])
    page.write(path)


def add_plan(page: Page, plan: Plan) -> None:
    """Say a plan, what each remedy would do alone, and what other budgets would cost, as a table and a plot."""
    page.text(f"{plan.in_words()}. Without a plan: {format_bytes(plan.plain_bytes)}.")
    if plan.smallest_budget_bytes is not None:
        page.text(f"The smallest budget that some plan fits: {format_bytes(plan.smallest_budget_bytes)}.")
    if plan.remedies:
        page.table(
            ["each remedy alone", "peak bytes", "relative time", "changes"],
            [(r.name, r.peak_bytes, r.relative_time, r.changes_result or "nothing") for r in plan.remedies],
        )
    if len(plan.frontier) > 1:
        page.text("With gradients equal, bit for bit, less memory takes more time:")
        points = [(point.relative_time, point.peak_bytes) for point in plan.frontier]
        page.figure(frontier(points, (plan.relative_time, plan.peak_bytes), plan.budget_bytes))
