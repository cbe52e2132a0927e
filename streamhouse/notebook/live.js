// The view of a LiveTopic: a line of facts, the records of each of the last seconds, and the newest records.

const BARS = { width: 4, gap: 1, height: 32 };
const COLUMNS = ["partition", "offset", "time (UTC)", "key", "value"];

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function cell(value, column) {
  const made = element("td", column < 2 ? "number" : "text");
  if (value === null) made.append(element("i", "", "null"));
  else made.textContent = value;
  return made;
}

function drawBars(svg, rates) {
  const most = Math.max(1, ...rates);
  const step = BARS.width + BARS.gap;
  svg.setAttribute("viewBox", `0 0 ${rates.length * step} ${BARS.height}`);
  svg.style.width = `${rates.length * step}px`;
  svg.replaceChildren(
    ...rates.map((rate, index) => {
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const height = (rate / most) * BARS.height;
      bar.setAttribute("x", index * step);
      bar.setAttribute("y", BARS.height - height);
      bar.setAttribute("width", BARS.width);
      bar.setAttribute("height", height);
      return bar;
    }),
  );
}

function render({ model, el }) {
  const root = element("div", "streamhouse-live");
  const head = element("div", "head");
  const name = element("b", "", model.get("topic"));
  const facts = element("span", "facts");
  const button = element("button", "", "");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "records in each of the last seconds");
  const scroller = element("div", "scroller");
  const table = element("table");
  const titles = element("tr");
  titles.append(...COLUMNS.map((title) => element("th", "", title)));
  const thead = element("thead");
  thead.append(titles);
  const body = element("tbody");
  table.append(thead, body);
  scroller.append(table);
  head.append(name, facts, button);
  root.append(head, svg, scroller);
  el.append(root);

  const showFacts = () => {
    const state = model.get("state");
    const rates = model.get("rates");
    const parts = [
      state,
      `${model.get("seen").toLocaleString()} records`,
      `${(rates.at(-2) ?? 0).toLocaleString()} a second`,
    ];
    if (model.get("lag") > 0) parts.push(`${model.get("lag").toLocaleString()} to come`);
    if (model.get("problem")) parts.push(model.get("problem"));
    facts.textContent = parts.join(" · ");
    root.dataset.state = state;
    button.hidden = state === "closed" || state === "failed";
    button.textContent = model.get("paused") ? "resume" : "pause";
  };
  const showRates = () => drawBars(svg, model.get("rates"));
  const showRows = () => {
    body.replaceChildren(
      ...model
        .get("rows")
        .toReversed()
        .map((row) => {
          const line = element("tr");
          line.append(...row.map(cell));
          return line;
        }),
    );
  };
  button.addEventListener("click", () => {
    model.set("paused", !model.get("paused"));
    model.save_changes();
    showFacts();
  });

  const shown = [
    [["state", "seen", "lag", "problem", "paused", "rates"], showFacts],
    [["rates"], showRates],
    [["rows"], showRows],
  ];
  for (const [names, show] of shown) {
    for (const each of names) model.on(`change:${each}`, show);
    show();
  }
  return () => {
    for (const [names, show] of shown) for (const each of names) model.off(`change:${each}`, show);
  };
}

export default { render };
