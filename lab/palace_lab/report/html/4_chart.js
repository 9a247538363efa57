// What stands around the picture: legend, scale, keys, the words for what is pointed at, a table.

const key = (kind, words, ...shape) =>
  el(
    "span",
    {},
    svg(
      "svg",
      { width: 18, height: 16, viewBox: "0 0 18 16", "aria-hidden": "true" },
      svg("g", { class: kind }, ...shape),
    ),
    words,
  );
const legend = () => {
  const box = () => svg("rect", { x: 1, y: 2, width: 16, height: 12 });
  return el(
    "div",
    { class: "legend" },
    key("call ok plan", "ok", box()),
    key("call fail", "failed", box(), svg("path", { d: "M1 14L13 2" })),
    key("call info", "unknown", box()),
    key("call looker ok", "looking", box()),
    key("fault", "done by the lab", svg("path", { d: "M4 3h10l-5 10z" })),
    key("killed", "killed by the lab", svg("path", { d: "M4 3l10 10m0 -10l-10 10" })),
    key(
      "died",
      "died by itself",
      svg("circle", { cx: 9, cy: 8, r: 7 }),
      svg("path", { d: "M6 5l6 6m0 -6l-6 6" }),
    ),
    key("contradiction", "contradiction", svg("path", { d: "M9 1l6 7l-6 7l-6 -7z" })),
  );
};

const chartOf = (lanes, events) => {
  const rest = "Point at anything in the picture to read about it, or go through it with the arrow keys.";
  const detail = el("p", { class: "detail quiet", "aria-live": "polite" }, rest);
  const place = el("div", { class: "chart" });
  let nodes = [],
    width = 0;
  const tell = (each) => {
    detail.textContent = each.title;
    detail.classList.remove("quiet");
  };
  const show = () => {
    width = place.clientWidth;
    const made = draw(lanes, events, Math.max(300, width));
    nodes = made.nodes;
    nodes.forEach(([each, node], number) => {
      node.addEventListener("mouseenter", () => tell(each));
      node.addEventListener("focus", () => tell(each));
      if (number === 0) node.setAttribute("tabindex", 0);
    });
    place.replaceChildren(made.picture);
  };
  place.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const now = nodes.findIndex(([, node]) => node === document.activeElement);
    if ((!step && event.key !== "Home" && event.key !== "End") || now < 0) return;
    event.preventDefault();
    const next =
      event.key === "Home"
        ? 0
        : event.key === "End"
          ? nodes.length - 1
          : Math.min(nodes.length - 1, Math.max(0, now + step));
    nodes[now][1].setAttribute("tabindex", -1);
    nodes[next][1].setAttribute("tabindex", 0);
    nodes[next][1].focus();
  });
  const scales = el("span", { class: "scales" }, "Time:");
  const buttons = [
    ["pauses shortened", false],
    ["true to scale", true],
  ].map(([words, wanted]) => {
    const button = el("button", { type: "button" }, words);
    button.addEventListener("click", () => {
      trueTime = wanted;
      press();
      show();
    });
    scales.append(button);
    return [button, wanted];
  });
  const press = () =>
    buttons.forEach(([button, wanted]) => button.setAttribute("aria-pressed", wanted === trueTime));
  press();
  new ResizeObserver(() => {
    if (place.clientWidth !== width) show();
  }).observe(place);
  return { nodes: [el("div", { class: "bar" }, legend(), scales), place, detail], show };
};

const tableOf = (lanes, events) => {
  const whole = el(
    "details",
    { class: "events" },
    el("summary", {}, `All ${events.length} events as a table`),
  );
  whole.addEventListener("toggle", () => {
    if (whole.querySelector("table")) return;
    const lines = events.map((each) =>
      el(
        "tr",
        {},
        el("td", {}, seconds(each.time)),
        el("td", {}, lanes.lanes[each.lane].name),
        el("td", {}, each.what),
        el("td", {}, each.said),
        el("td", {}, each.end > each.time ? lasting(each.end - each.time) : ""),
      ),
    );
    const names = ["at", "process", "what", "outcome", "lasted"].map((name) =>
      el("th", { scope: "col" }, name),
    );
    whole.append(
      el(
        "div",
        { class: "scroll", tabindex: 0 },
        el("table", {}, el("thead", {}, el("tr", {}, ...names)), el("tbody", {}, ...lines)),
      ),
    );
  });
  return whole;
};
