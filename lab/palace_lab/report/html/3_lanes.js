// The picture of a trial: a lane for each process, with bars and marks.

const PHASES = ["ok", "fail", "info"];
const SAID = { ok: "ok", fail: "failed, without effect", info: "unknown: it may have had an effect" };
const kindOf = (op) =>
  ["triple", "end"].includes(op) ? "triple" : ["memory", "forget"].includes(op) ? "memory" : "drawer";
const about = (op, first, count) => {
  if (!count) return "";
  const kind = kindOf(op);
  const many = kind === "memory" ? "memories" : `${kind}s`;
  return count === 1 ? `${kind} ${first}` : `${many} ${first} to ${first + count - 1}`;
};

// All events of a trial, in the order of time: what is drawn, and what the table says.
const eventsOf = (lanes) => {
  const events = [];
  lanes.lanes.forEach((lane, number) => {
    for (const [begin, lasted, op, phase, first = 0, count = 0, revision = 0, text = ""] of lane.calls) {
      const name = lanes.ops[op];
      const what = [name, about(name, first, count), revision ? `revision ${revision}` : ""]
        .filter(Boolean)
        .join(" ");
      const said = `${SAID[PHASES[phase]]}${text ? `: ${text}` : ""}`;
      events.push({ lane: number, time: begin, end: begin + lasted, phase: PHASES[phase], name, what, said });
    }
    for (const [time, kind, text] of lane.marks) {
      const what = {
        fault: "done by the lab",
        killed: "killed by the lab",
        died: "died",
        contradiction: "contradiction",
      }[kind];
      events.push({ lane: number, time, end: time, kind, what, said: text });
    }
  });
  for (const each of events) {
    const lasted = each.end > each.time ? `, for ${lasting(each.end - each.time)}` : "";
    each.title = `${lanes.lanes[each.lane].name} at ${seconds(each.time)}${lasted}: ${each.what}, ${each.said}`;
  }
  return events.sort((a, b) => a.time - b.time || a.lane - b.lane);
};

// Puts each of `items` on the first row on which it overlaps nothing; returns the number of rows.
const stack = (items, left, right, rowsMax) => {
  const ends = [];
  for (const item of items) {
    let row = ends.findIndex((end) => end <= left(item));
    if (row < 0) row = ends.length < rowsMax ? ends.push(0) - 1 : rowsMax - 1;
    item.row = row;
    ends[row] = Math.max(ends[row], right(item));
  }
  return ends.length;
};

// Contradictions that showed in one answer are one mark.
const together = (marks) => {
  const kept = [];
  for (const mark of marks) {
    const same = kept.find(
      (each) => mark.kind === "contradiction" && each.kind === mark.kind && each.time === mark.time,
    );
    if (same) Object.assign(same, { times: same.times + 1, title: `${same.title} · ${mark.said}` });
    else kept.push({ ...mark, times: 1 });
  }
  return kept;
};

const GROUPS = { plan: "PROCESSES OF THE PLAN", lab: "", looker: "LOOKED AT WHAT WAS LEFT" };
const TRACK = 18;
const MARK = 15;

const draw = (lanes, events, width) => {
  const narrow = width < 620;
  const [left, right] = narrow ? [14, width - 14] : [170, width - 22];
  const scale = scaleOf(events.flatMap((each) => [each.time, each.end]).concat(0, lanes.end), left, right);
  const first = events.find((each) => each.kind === "contradiction");
  const top = first ? 46 : 30;
  const back = svg("g", {}),
    front = svg("g", {}),
    drawn = [];
  let y = top,
    group = null;
  lanes.lanes.forEach((lane, number) => {
    const own = events.filter((each) => each.lane === number);
    const made = own.filter((each) => each.phase),
      marks = together(own.filter((each) => each.kind));
    if (lane.by !== group && GROUPS[lane.by]) {
      y += 20;
      back.append(svg("text", { x: narrow ? left : 14, y: y - 5, class: "group" }, GROUPS[lane.by]));
    }
    group = lane.by;
    back.append(svg("line", { x1: 0, x2: width, y1: y, y2: y, class: "rule" }));
    const tracks = Math.max(
      1,
      stack(
        made,
        (each) => scale(each.time),
        (each) => Math.max(scale(each.end), scale(each.time) + 2),
        8,
      ),
    );
    const above = marks.filter((each) => each.kind === "fault" || each.kind === "contradiction");
    const levels = stack(
      above,
      (each) => scale(each.time) - 6,
      (each) => scale(each.time) + 6,
      4,
    );
    const name = svg(
      "text",
      { x: narrow ? left : 14, y: y + (narrow ? 16 : 6 + levels * MARK + TRACK / 2 + 4) },
      cut(lane.name, narrow ? width - 40 : left - 26),
      svg("title", {}, lane.name),
    );
    back.append(name);
    const head = y + (narrow ? 22 : 6),
      base = head + levels * MARK;
    const bottom = base + tracks * (TRACK + 2) + 8;
    const death = marks.find((each) => each.kind === "killed" || each.kind === "died");
    if (own.length)
      back.append(
        svg("line", {
          x1: scale(own[0].time),
          x2: scale(death ? death.time : Math.max(...own.map((each) => each.end))),
          y1: base + TRACK / 2,
          y2: base + TRACK / 2,
          class: "life",
        }),
      );
    for (const each of made) {
      const x = scale(each.time),
        wide = Math.max(2, scale(each.end) - x),
        at = base + each.row * (TRACK + 2);
      const parts = [svg("rect", { x, y: at, width: wide, height: TRACK })];
      if (each.phase === "fail")
        parts.push(svg("path", { d: `M${x} ${at + TRACK}L${x + Math.min(wide, TRACK)} ${at}` }));
      const indent = each.phase === "fail" ? TRACK + 4 : 5;
      if (wide > each.name.length * 6.2 + indent + 3)
        parts.push(svg("text", { x: x + indent, y: at + 13 }, each.name));
      drawn.push([each, svg("g", { class: `call ${each.phase} ${lane.by}` }, ...parts)]);
    }
    for (const each of marks) {
      const x = scale(each.time),
        at = head + (each.row || 0) * MARK,
        middle = base + TRACK / 2;
      const parts = {
        fault: () => [
          svg("line", { x1: x, x2: x, y1: at + 10, y2: base + tracks * (TRACK + 2) }),
          svg("path", { d: `M${x - 5} ${at + 1}h10l-5 10z` }),
        ],
        contradiction: () => [
          svg("path", { d: `M${x} ${at - 1}l6 7l-6 7l-6 -7z` }),
          ...(each.times > 1
            ? [svg("text", { x: x - 9, y: at + 10, "text-anchor": "end" }, `${each.times}×`)]
            : []),
        ],
        killed: () => [svg("path", { d: `M${x - 5} ${middle - 5}l10 10m0 -10l-10 10` })],
        died: () => [
          svg("circle", { cx: x, cy: middle, r: 8.5 }),
          svg("path", { d: `M${x - 4} ${middle - 4}l8 8m0 -8l-8 8` }),
        ],
      }[each.kind]();
      const box =
        each.kind === "fault" || each.kind === "contradiction"
          ? [x - 7, at - 1, 14, 15]
          : [x - 9, middle - 9, 18, 18];
      parts.push(svg("rect", { x: box[0], y: box[1], width: box[2], height: box[3], class: "hit" }));
      drawn.push([each, svg("g", { class: each.kind }, ...parts)]);
    }
    y = bottom;
  });
  for (const tick of ticksOf(lanes.end, scale, narrow ? 58 : 72, (right - left) / 150)) {
    const digits = tick.step >= 1e6 ? 0 : tick.step >= 1e5 ? 1 : tick.step >= 1e4 ? 2 : 3;
    const end = tick.x > right - 24;
    back.prepend(svg("line", { x1: tick.x, x2: tick.x, y1: top, y2: y, class: "grid" }));
    back.append(
      svg(
        "text",
        {
          x: end ? right + (narrow ? 6 : 14) : tick.x,
          y: top - 9,
          class: "tick",
          "text-anchor": end ? "end" : "middle",
        },
        tick.time ? seconds(tick.time, digits) : "0",
      ),
    );
  }
  if (first) {
    const x = scale(first.time),
      words = `first contradiction · ${seconds(first.time)}`,
      room = words.length * 7;
    const [anchor, at] =
      x + 7 + room < width
        ? ["start", x + 7]
        : x - 7 > room
          ? ["end", x - 7]
          : ["start", Math.max(6, width - room - 6)];
    front.append(svg("line", { x1: x, x2: x, y1: 8, y2: y, class: "firstline" }));
    front.append(svg("text", { x: at, y: 17, class: "firsttext", "text-anchor": anchor }, words));
  }
  drawn.sort(([a], [b]) => a.time - b.time);
  for (const [each, node] of drawn) {
    fill(node, { role: "img", tabindex: -1, "aria-label": each.title }, [svg("title", {}, each.title)]);
    (each.kind ? front : back).append(node);
  }
  const picture = svg(
    "svg",
    {
      width,
      height: y + 6,
      viewBox: `0 0 ${width} ${y + 6}`,
      role: "group",
      "aria-label": "Lanes over time; the arrow keys go from event to event",
    },
    back,
    front,
  );
  return { picture, nodes: drawn };
};
