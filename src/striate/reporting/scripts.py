"""What a page's scripts do: order its tables, and say what lies under the pointer. All is there without them.

They write text only as text (``textContent``), so that a layer's name is never taken for HTML.
"""

SORTING = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], order = [...body.rows];
  const words = new Intl.Collator("en", {numeric: true});
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button"), numbers = head.className === "number";
    const text = row => row.cells[column].textContent;
    const value = row => parseFloat(text(row).replace(/,/g, ""));
    const compare = numbers ? (a, b) => value(a) - value(b) : (a, b) => words.compare(text(a), text(b));
    const turns = numbers ? ["descending", "ascending"] : ["ascending", "descending"];
    button.disabled = false;
    button.addEventListener("click", () => {
      const turn = turns[turns.indexOf(head.getAttribute("aria-sort")) + 1];
      for (const other of heads) other.removeAttribute("aria-sort");
      let rows = order;
      if (turn) {
        head.setAttribute("aria-sort", turn);
        const sign = turn === "ascending" ? 1 : -1;
        const full = order.filter(text), empty = order.filter(row => !text(row));
        rows = [...full.sort((a, b) => sign * compare(a, b)), ...empty];
      }
      body.append(...rows);
    });
  });
}
"""

POINTING = """
for (const chart of document.querySelectorAll(".timeline")) {
  const svg = chart.querySelector("svg"), tip = chart.querySelector(".tip"), cursor = svg.querySelector(".cursor");
  const data = JSON.parse(chart.querySelector("script").textContent), many = data.rows.length;
  let shown = data.peak;
  const scaled = (size, base, units) => {
    let place = 0;
    for (size /= base; size >= base - .005 && place < 3; place++) size /= base;
    return size.toFixed(2) + " " + units[place];
  };
  const bytes = size => size < 1000 ? size + " bytes" : scaled(size, 1000, ["kB", "MB", "GB", "TB"])
    + " (" + scaled(size, 1024, ["KiB", "MiB", "GiB", "TiB"]) + ")";
  const line = (text, kind) => {
    const added = document.createElement("div");
    added.textContent = text;
    if (kind) added.className = kind;
    tip.append(added);
  };
  const show = column => {
    shown = Math.min(Math.max(column, 0), many - 1);
    const [place, size, list, operator, layer, phase] = data.rows[shown];
    tip.replaceChildren();
    line(data.words[operator], "strong");
    if (data.words[layer]) line(data.words[layer]);
    line(data.words[phase] + ", operator " + (place + 1).toLocaleString("en") + " of " +
      data.count.toLocaleString("en"));
    line(bytes(size) + " alive, of that:", "strong");
    for (const thing of data.lists[list]) line(data.things[thing][0] + ": " + bytes(data.things[thing][1]));
    const first = Math.floor(shown * data.count / many), next = Math.floor((shown + 1) * data.count / many);
    const x = data.left + (first + next) / 2 / data.count * (data.right - data.left);
    cursor.setAttribute("transform", "translate(" + x + " 0)");
    cursor.setAttribute("visibility", "visible");
    tip.hidden = false;
    const at = x / data.width * svg.clientWidth, wide = tip.offsetWidth;
    tip.style.left = Math.max(0, at + 12 + wide > chart.clientWidth ? at - 12 - wide : at + 12) + "px";
  };
  const hide = () => { tip.hidden = true; cursor.setAttribute("visibility", "hidden"); };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * data.width;
    const place = Math.floor((x - data.left) / (data.right - data.left) * data.count);
    if (place < 0 || place >= data.count) hide();
    else show(Math.ceil((place + 1) * many / data.count) - 1);
  });
  svg.addEventListener("pointerleave", hide);
  chart.addEventListener("focus", () => show(shown));
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", event => {
    const moves = {ArrowLeft: shown - 1, ArrowRight: shown + 1, PageUp: shown - 20, PageDown: shown + 20, Home: 0,
      End: many - 1};
    if (event.key === "Escape") hide();
    else if (event.key in moves) { event.preventDefault(); show(moves[event.key]); }
  });
}
"""
