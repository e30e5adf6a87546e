// A small chart of a training's numbers, drawn as they arrive, with a legend.

const COLOURS = [
  "#6cb2ff", "#ffb454", "#8fd68f", "#e38ae3", "#ff7b72", "#6fd6d6", "#d9cf6b", "#b69cff", "#ff9fc0", "#a8b58a",
  "#c9c9c9", "#8f9bb3",
];
const KEPT = 2000;
const LINE = 16;
const COLUMN = 190;
const CHART = 120;

const SCORES = ["style_distance", "structure_distance"];

/** Terms whose names say little alone: what the legend calls them, and what it explains to whoever points there. */
const TERMS = {
  style_distance: ["style distance", "from the style pictures; 0 is identical"],
  structure_distance: ["structure distance", "from the source's faces; at 1 they could be anybody's"],
  generator: ["generator loss", "adversarial: how well the discriminator tells its pictures from the style's"],
  adversarial: ["adversarial loss", "how well the discriminator tells the pictures from true ones"],
  discriminator: ["discriminator loss", "how badly the discriminator tells true pictures from the generator's"],
  feature: ["feature loss", "distance in the features of a network"],
  self: ["self-similarity loss", "how far relations between places have changed"],
  relation: ["cross-sample loss", "how far differences between faces have changed"],
  texture: ["texture loss", "distance of texture and colour statistics from the style's"],
  pixel: ["pixel loss"],
  edges: ["edge loss"],
  gradient: ["gradient loss"],
  features: ["feature matching loss", "distance in the discriminator's features"],
  blurred: ["blurred pixel loss", "distance in brightness, at low resolution"],
  structure: ["structure loss"],
  codes: ["code loss", "squared error of the codes"],
  code: ["code loss", "distance of what the encoder reads"],
  r1: ["R1 penalty", "squared gradient of the discriminator"],
  path_length: ["path length penalty"],
  augment_probability: ["augmentation probability"],
};

/** What the legend calls a term; one that is not in the table keeps its name. */
function title(name) {
  return Object.hasOwn(TERMS, name) ? TERMS[name][0] : name.replaceAll("_", " ");
}

function explanation(name) {
  const says = Object.hasOwn(TERMS, name) ? TERMS[name][1] : undefined;
  return `${title(name)}${says ? `: ${says}` : ""}. "${name}" in losses.csv. Each curve has its own scale.`;
}

function isScore(name) {
  return SCORES.includes(name);
}

export class LossCurve {
  static height = 250;

  constructor() {
    this.element = document.createElement("canvas");
    this.element.className = "facestylist-losses";
    this.element.style.cssText = "width:100%;height:100%;background:#1b1b1b;border-radius:6px;display:block";
    this.element.setAttribute("role", "img");
    this.rows = [];
    this.total = 1;
    /** What the legend says, and where: `{name, text, x, y, width}`. */
    this.legend = [];
    this.pointedAt = null;
    new ResizeObserver(() => this.draw()).observe(this.element);
    this.element.addEventListener("pointermove", (event) => this.point(event.offsetX, event.offsetY));
    this.element.addEventListener("pointerleave", () => this.point(-1, -1));
  }

  /** Adds rows such as `{step: 3, generator: 0.5}`; a step that was there before begins a new run. */
  add(rows, total) {
    if (this.rows.length && rows[0].step <= this.rows.at(-1).step) this.rows = [];
    this.rows.push(...rows);
    // Every second row of a long run still draws the same curve; a score is measured too seldom to lose one.
    if (this.rows.length > KEPT) {
      const kept = (row, index) => index % 2 === 0 || index > KEPT - 50 || Object.keys(row).some(isScore);
      this.rows = this.rows.filter(kept);
    }
    this.total = Math.max(total, 1);
    this.draw();
  }

  /** Names of the curves: the scores first, then in the order in which they appeared. */
  names() {
    const names = new Set();
    for (const row of this.rows) for (const name of Object.keys(row)) if (name !== "step") names.add(name);
    return [...names].sort((a, b) => isScore(b) - isScore(a)).slice(0, COLOURS.length);
  }

  /** Brings out the curve whose entry of the legend is there, and explains it. */
  point(x, y) {
    const entry = this.legend.find((e) => x >= e.x && x < e.x + e.width && Math.abs(y - e.y) <= LINE / 2);
    const name = entry?.name ?? null;
    if (name === this.pointedAt) return;
    this.pointedAt = name;
    this.element.title = name ? explanation(name) : "";
    this.draw();
  }

  draw() {
    const last = this.rows.at(-1);
    if (!last) return;
    const curves = this.names().map((name) => ({ name, points: this.rows.filter((row) => Number.isFinite(row[name])) }));
    const texts = curves.map(({ name, points }) => {
      const value = points.length ? points.at(-1)[name].toPrecision(3) : "not a number";
      return `${title(name)} ${value}`;
    });
    this.element.setAttribute("aria-label", `Step ${last.step} of ${this.total}: ${texts.join(", ")}`);
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    this.element.width = width * ratio;
    this.element.height = height * ratio;
    const pen = this.element.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "11px sans-serif";
    pen.textBaseline = "middle";

    const columns = Math.max(1, Math.floor((width - 16) / COLUMN));
    const line = Math.min(LINE, Math.max(10, (height - 18 - CHART / 2) / Math.ceil(curves.length / columns)));
    const rows = Math.ceil(curves.length / columns);
    const box = { left: 8, top: 8, width: width - 16, height: Math.max(40, height - line * rows - 18) };
    pen.strokeStyle = "#333";
    pen.strokeRect(box.left, box.top, box.width, box.height);
    this.legend = curves.map(({ name }, index) => ({
      name,
      text: texts[index],
      x: 8 + (index % columns) * ((width - 16) / columns),
      y: box.top + box.height + 6 + line * (Math.floor(index / columns) + 0.5),
      width: (width - 16) / columns,
    }));
    curves.forEach((curve, index) => {
      const dimmed = this.pointedAt && this.pointedAt !== curve.name;
      pen.globalAlpha = dimmed ? 0.2 : 1;
      pen.strokeStyle = pen.fillStyle = COLOURS[index];
      this.drawCurve(pen, curve, box);
      const { text, x, y, width: room } = this.legend[index];
      pen.fillRect(x, y - 4, 8, 8);
      pen.fillStyle = "#ccc";
      pen.fillText(text, x + 12, y, room - 16);
    });
    pen.globalAlpha = 1;
  }

  drawCurve(pen, { name, points }, box) {
    if (!points.length) return;
    const first = this.rows[0].step;
    const span = Math.max(this.total - first, 1);
    // Each curve has its own scale: the terms differ by orders of magnitude, and their course is what matters.
    const values = points.map((row) => row[name]);
    const low = Math.min(...values);
    const range = Math.max(...values) - low || 1;
    const places = points.map((row) => [
      box.left + ((row.step - first) / span) * box.width,
      box.top + 4 + (1 - (row[name] - low) / range) * (box.height - 8),
    ]);
    pen.lineWidth = isScore(name) ? 2.2 : 1.2;
    pen.beginPath();
    for (const [x, y] of places) pen.lineTo(x, y);
    pen.stroke();
    // Scores are measured now and then: a dot says when. A single number has no line at all.
    if (isScore(name) || places.length === 1) for (const [x, y] of places) pen.fillRect(x - 2, y - 2, 4, 4);
  }
}
