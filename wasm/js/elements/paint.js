// Paints a trend on a canvas: grid, limits, gaps, lines, and what is under the pointer.

/** Points that are further apart are not joined by a slope. */
const STEP_MS = 2000;
const PAD = { left: 46, right: 10, top: 8, bottom: 22 };

/** Paints one picture. `view` holds the window, the series and the marks. */
export function paintTrend(canvas, style, view) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (width < 40 || height < 40) return;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const g = canvas.getContext("2d");
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.clearRect(0, 0, width, height);
  g.font = `11px ${style.fontFamily}`;
  const colour = (name) => colourOf(canvas, style, name);
  const box = { left: PAD.left, right: width - PAD.right, top: PAD.top, bottom: height - PAD.bottom };
  const [low, high] = rangeOf(view);
  const x = (time) =>
    box.left + ((time - view.since) / (view.now - view.since)) * (box.right - box.left);
  const y = (value) => box.bottom - ((value - low) / (high - low)) * (box.bottom - box.top);
  const plot = { g, box, x, y, low, high, colour, view };
  grid(plot);
  g.save();
  g.beginPath();
  g.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  g.clip();
  for (const mark of view.marks) gap(plot, mark);
  limits(plot);
  for (const one of view.series) line(plot, one);
  const taken = [];
  for (const mark of view.marks.toReversed()) label(plot, mark, taken);
  g.restore();
  if (view.pointer !== null && view.pointer > box.left && view.pointer < box.right) reading(plot);
}

/** The colours of the element's own properties, resolved by the browser. */
const resolved = new WeakMap();

function colourOf(canvas, style, name) {
  const text = style.getPropertyValue(name).trim();
  let known = resolved.get(canvas);
  if (!known) resolved.set(canvas, (known = { probe: document.createElement("i"), by: new Map() }));
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const key = `${name} ${text} ${dark}`;
  if (!known.by.has(key)) {
    known.probe.style.color = `var(${name})`;
    known.probe.style.display = "none";
    canvas.parentNode.append(known.probe);
    known.by.set(key, getComputedStyle(known.probe).color);
    known.probe.remove();
  }
  return known.by.get(key);
}

function rangeOf({ series, since, range, limits }) {
  let [low, high] = [Infinity, -Infinity];
  for (const { times, values } of series) {
    // The value that was in force when the window began belongs to it.
    for (let i = times.length - 1; i >= 0; i -= 1) {
      if (values[i] < low) low = values[i];
      if (values[i] > high) high = values[i];
      if (times[i] < since) break;
    }
  }
  for (const limit of limits) {
    low = Math.min(low, limit);
    high = Math.max(high, limit);
  }
  if (low > high) [low, high] = [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [range[0] ?? low - room, range[1] ?? high + room];
}

function steps(low, high, about) {
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 5, 10].find((step) => step * power >= raw) ?? 10);
}

function grid({ g, box, x, y, low, high, colour, view }) {
  g.strokeStyle = colour("--_line");
  g.fillStyle = colour("--_quiet");
  g.lineWidth = 1;
  g.textAlign = "right";
  g.textBaseline = "middle";
  const step = steps(low, high, Math.max(2, (box.bottom - box.top) / 44));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) {
    const at = Math.round(y(value)) + 0.5;
    rule(g, box.left, at, box.right, at, 0.55);
    g.fillText(value.toFixed(digits), box.left - 6, at);
  }
  g.textAlign = "center";
  g.textBaseline = "top";
  const every = [5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find(
    (seconds) => (seconds * 1000 * (box.right - box.left)) / (view.now - view.since) > 84,
  );
  const ms = (every ?? 3600) * 1000;
  for (let time = Math.ceil(view.since / ms) * ms; time <= view.now; time += ms) {
    const at = Math.round(x(time)) + 0.5;
    rule(g, at, box.top, at, box.bottom, 0.35);
    if (at > box.left + 22 && at < box.right - 22) {
      g.fillText(view.clockTime(time), at, box.bottom + 6);
    }
  }
  rule(g, box.left + 0.5, box.top, box.left + 0.5, box.bottom, 1);
  rule(g, box.left, box.bottom + 0.5, box.right, box.bottom + 0.5, 1);
}

function rule(g, x1, y1, x2, y2, alpha) {
  g.globalAlpha = alpha;
  g.beginPath();
  g.moveTo(x1, y1);
  g.lineTo(x2, y2);
  g.stroke();
  g.globalAlpha = 1;
}

function limits({ g, box, y, colour, view }) {
  g.strokeStyle = colour("--_high");
  g.setLineDash([5, 4]);
  for (const limit of view.limits) {
    const at = Math.round(y(limit)) + 0.5;
    rule(g, box.left, at, box.right, at, 0.8);
  }
  g.setLineDash([]);
}

/** Where no gateway served the page: a hatched span, a line at least. */
function gap({ g, box, x, colour }, { from, to }) {
  const left = x(from);
  const width = Math.max(1, x(to) - left);
  g.fillStyle = colour("--_quiet");
  g.globalAlpha = 0.16;
  g.fillRect(left, box.top, width, box.bottom - box.top);
  g.strokeStyle = colour("--_accent");
  g.setLineDash([2, 3]);
  rule(g, Math.round(left + width) + 0.5, box.top, Math.round(left + width) + 0.5, box.bottom, 1);
  g.setLineDash([]);
}

/** The newest mark's words are in the first row; older ones make room below. */
function label({ g, box, x, colour }, { to, text }, taken) {
  const at = x(to);
  const wide = g.measureText(text).width;
  const left = at + wide + 14 > box.right ? at - wide - 8 : at + 6;
  let row = 0;
  while (taken.some((one) => one.row === row && left < one.right + 8 && one.left < left + wide + 8)) {
    row += 1;
  }
  taken.push({ row, left, right: left + wide });
  const top = box.top + 1 + row * 16;
  g.fillStyle = colour("--_panel");
  g.globalAlpha = 0.85;
  g.fillRect(left - 3, top, wide + 6, 15);
  g.globalAlpha = 1;
  g.fillStyle = colour("--_accent");
  g.textAlign = "left";
  g.textBaseline = "top";
  g.fillText(text, left, top + 2);
}

function line({ g, x, y, colour, view }, { at, times, values }) {
  g.strokeStyle = colour(`--_t${at}`);
  g.lineWidth = 1.6;
  g.lineJoin = "round";
  g.beginPath();
  let pen = false;
  let column = null;
  const flush = () => {
    if (!column) return;
    g[pen ? "lineTo" : "moveTo"](column.x, column.first);
    if (column.low !== column.high) {
      g.lineTo(column.x, column.low);
      g.lineTo(column.x, column.high);
    }
    g.lineTo(column.x, column.last);
    pen = true;
    column = null;
  };
  for (let i = firstShown(times, view.since); i < times.length; i += 1) {
    const broken = Number.isNaN(values[i]) || view.marks.some((mark) => spans(mark, times, i));
    if (broken) {
      flush();
      pen = false;
      if (Number.isNaN(values[i])) continue;
    }
    // What comes seldom changes in steps: nobody knows of anything between.
    if ((pen || column) && !broken && times[i] - times[i - 1] > STEP_MS) {
      flush();
      g.lineTo(x(times[i]), y(values[i - 1]));
    }
    // Many points in one column of pixels are drawn as its least and its greatest.
    const [px, py] = [Math.round(x(times[i]) * 2) / 2, y(values[i])];
    if (column && column.x !== px) flush();
    column ??= { x: px, first: py, low: py, high: py, last: py };
    column.low = Math.min(column.low, py);
    column.high = Math.max(column.high, py);
    column.last = py;
  }
  const last = values.at(-1);
  flush();
  // A value is in force until the next one, or until nobody could tell any more.
  if (pen && !Number.isNaN(last) && view.held > times.at(-1)) g.lineTo(x(view.held), y(last));
  g.stroke();
}

/** Whether a mark's span is what lies between a point and the one before it. */
function spans({ from, to }, times, i) {
  const before = times[i - 1];
  return before < to && from < times[i] && times[i] - before <= to - from + STEP_MS;
}

function firstShown(times, since) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < since) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

function reading({ g, box, colour, view }) {
  const part = (view.pointer - box.left) / (box.right - box.left);
  const time = view.since + part * (view.now - view.since);
  g.strokeStyle = colour("--_quiet");
  rule(g, view.pointer, box.top, view.pointer, box.bottom, 0.9);
  const texts = [view.clockTime(time)];
  for (const { label, times, values } of view.series) {
    const at = firstShown(times, time);
    if (times[at] <= time) texts.push(`${label} ${values[at].toFixed(view.digits)}`);
  }
  const wide = Math.max(...texts.map((text) => g.measureText(text).width)) + 12;
  const left = view.pointer + wide + 12 > box.right ? view.pointer - wide - 8 : view.pointer + 8;
  g.fillStyle = colour("--_panel");
  g.fillRect(left, box.top + 20, wide, texts.length * 15 + 8);
  g.strokeRect(left + 0.5, box.top + 20.5, wide, texts.length * 15 + 8);
  g.fillStyle = colour("--_ink");
  g.textAlign = "left";
  g.textBaseline = "top";
  texts.forEach((text, row) => g.fillText(text, left + 6, box.top + 25 + row * 15));
}
