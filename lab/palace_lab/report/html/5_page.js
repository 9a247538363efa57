// The matrix and its filters, one trial with all that is known of it, and the address that names it.

// Matrix ---------------------------------------------------------------------------------------

const rows = [...document.querySelectorAll("table.matrix tbody tr")];
const filter = () => {
  const [system, verdict] = [byId("by-system").value, byId("by-verdict").value];
  const name = byId("by-name").value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const kept =
      (!system || row.dataset.system === system) &&
      (!verdict ||
        (verdict === "!" ? row.dataset.good === "0" : row.dataset.verdicts.split("|").includes(verdict))) &&
      row.querySelector("th").textContent.toLowerCase().includes(name);
    row.hidden = !kept;
    shown += kept;
  }
  byId("rows-shown").textContent =
    shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
};

// Trial ----------------------------------------------------------------------------------------

const armsOf = (row, chosen) => {
  const place = el("div", { class: "arms" });
  for (const arm of row.arms) {
    const links = arm.trials.map((id) => {
      const trial = DATA.trials[id];
      return el(
        "a",
        { href: `#${encodeURIComponent(id)}`, ...(id === chosen ? { "aria-current": "page" } : {}) },
        `trial ${trial.index} · ${trial.outcome}`,
      );
    });
    place.append(
      el("span", { class: "arm" }, arm.name),
      el("span", { class: "trials" }, el("span", { class: arm.tone }, arm.words), ...links),
    );
  }
  return place;
};

const commandOf = (command) => {
  const button = el("button", { type: "button" }, "Copy");
  const line = el("pre", {}, el("code", {}, command));
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(line);
      button.textContent = "Selected";
    }
  });
  return el("div", { class: "command" }, line, button);
};

const trialOf = (id) => {
  const trial = DATA.trials[id],
    row = DATA.rows[trial.row],
    arm = row.arms[trial.arm],
    lanes = trial.lanes;
  const events = lanes ? eventsOf(lanes) : [];
  const first = events.find((each) => each.kind === "contradiction");
  const parts = [
    el("p", {}, el("a", { href: "#" }, "← All verdicts")),
    el(
      "h2",
      { id: "trial-head", tabindex: -1 },
      `${row.name} on ${row.release}, ${arm.name}, trial ${trial.index}`,
    ),
    el("p", { class: "quiet" }, row.sentence),
    armsOf(row, id),
    arm.reason ? el("p", { class: arm.tone }, arm.reason) : null,
    el("p", {}, trial.sentence),
    trial.trouble ? el("p", { class: "first" }, el("b", {}, "The lab itself: "), trial.trouble) : null,
  ];
  if (first)
    parts.push(
      el(
        "p",
        { class: "first" },
        el("b", {}, `First contradiction, at ${seconds(first.time)} in ${lanes.lanes[first.lane].name}: `),
        first.said,
      ),
    );
  else if (trial.violations.length)
    parts.push(
      el(
        "p",
        { class: "first" },
        el("b", {}, "First contradiction: "),
        `${trial.violations[0][2]} [${trial.violations[0][1]}]`,
      ),
    );
  else if (!trial.trouble)
    parts.push(
      el(
        "p",
        { class: "held" },
        trial.outcome === "held"
          ? "Everything held: no check found a contradiction."
          : "No check found a contradiction, but a fault of the plan was not reached.",
      ),
    );
  let chart = null;
  if (lanes && lanes.lanes.length) {
    chart = chartOf(lanes, events);
    parts.push(...chart.nodes);
    if (lanes.left)
      parts.push(
        el(
          "p",
          { class: "quiet" },
          `${lanes.left} more calls are not in the picture: the history of a long trial is shortened.`,
        ),
      );
    parts.push(tableOf(lanes, events));
  } else {
    parts.push(el("p", { class: "quiet" }, trial.why || "Nothing was recorded in this trial."));
  }
  if (trial.violations.length) {
    const said = trial.violations.map(([check, signature, sentence]) =>
      el("li", {}, `${sentence} `, el("code", { class: "quiet" }, `${check}: ${signature}`)),
    );
    parts.push(el("h3", {}, "What the checks found"), el("ul", {}, ...said));
    if (trial.more) parts.push(el("p", { class: "quiet" }, `${trial.more} more are in results.jsonl.`));
  }
  if (trial.goals.length)
    parts.push(
      el("h3", {}, "Faults of the plan"),
      el(
        "ul",
        {},
        ...trial.goals.map(([goal, reached]) =>
          el("li", {}, `${reached ? "✓ reached" : "✗ not reached"}: ${goal}`),
        ),
      ),
    );
  if (trial.exits.length)
    parts.push(
      el("h3", {}, "How its processes ended"),
      el("dl", {}, ...trial.exits.map(([name, how]) => [el("dt", {}, name), el("dd", {}, how)])),
    );
  parts.push(el("h3", {}, "See it again, alone"), commandOf(trial.replay));
  const files = [
    ["plan", trial.plan],
    ["history", trial.history],
  ].filter(([, path]) => path);
  parts.push(
    el(
      "p",
      { class: "quiet small" },
      "Beside this page: ",
      files.flatMap(([name, path], number) => [number ? ", " : "", `${name} `, el("code", {}, path)]),
    ),
  );
  byId("trial").replaceChildren(...parts.filter(Boolean));
  return chart;
};

// Address --------------------------------------------------------------------------------------

let before = "";
const route = () => {
  let id = location.hash.slice(1);
  try {
    id = decodeURIComponent(id);
  } catch {
    /* as it is */
  }
  const known = Object.hasOwn(DATA.trials, id);
  byId("matrix").hidden = known;
  byId("trial").hidden = !known;
  if (known) {
    const chart = trialOf(id);
    if (chart) chart.show();
    const head = byId("trial-head");
    document.title = `${head.textContent} · ${TITLE}`;
    scrollTo(0, 0);
    head.focus({ preventScroll: true });
  } else {
    document.title = TITLE;
    byId("trial").replaceChildren();
    const link = before && document.querySelector(`table.matrix a[href="#${CSS.escape(before)}"]`);
    if (link) link.focus();
  }
  before = known ? location.hash.slice(1) : "";
};

document.documentElement.classList.remove("plain");
if (rows.length) {
  for (const id of ["by-system", "by-verdict", "by-name"]) byId(id).addEventListener("input", filter);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  filter();
}
addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && before) location.hash = "";
});
route();
