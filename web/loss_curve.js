// A small chart of a training's losses, drawn as they arrive.

const COLOURS = ["#6cb2ff", "#ffb454", "#8fd68f", "#e38ae3", "#ff7b72", "#c9c9c9"];
const KEPT = 2000;
const LINE = 16;

export class LossCurve {
  static height = 150;

  constructor() {
    this.element = document.createElement("canvas");
    this.element.className = "facestylist-losses";
    this.element.style.cssText = "width:100%;height:100%;background:#1b1b1b;border-radius:6px;display:block";
    this.element.setAttribute("role", "img");
    this.rows = [];
    this.total = 1;
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** Adds rows such as `{step: 3, generator: 0.5}`; a step that was there before begins a new run. */
  add(rows, total) {
    if (this.rows.length && rows[0].step <= this.rows.at(-1).step) this.rows = [];
    this.rows.push(...rows);
    // Every second row of a long run still draws the same curve.
    if (this.rows.length > KEPT) this.rows = this.rows.filter((_, index) => index % 2 === 0 || index > KEPT - 50);
    this.total = Math.max(total, 1);
    const last = this.rows.at(-1);
    this.element.setAttribute("aria-label", `Losses at step ${last.step} of ${total}`);
    this.draw();
  }

  /** Names of the curves, in the order in which they appeared. */
  names() {
    const names = new Set();
    for (const row of this.rows) for (const name of Object.keys(row)) if (name !== "step") names.add(name);
    return [...names].slice(0, COLOURS.length);
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height || !this.rows.length) return;
    const ratio = window.devicePixelRatio || 1;
    this.element.width = width * ratio;
    this.element.height = height * ratio;
    const pen = this.element.getContext("2d");
    pen.scale(ratio, ratio);
    const names = this.names();
    const columns = Math.max(1, Math.floor(width / 130));
    const legend = LINE * Math.ceil(names.length / columns);
    const box = { left: 8, top: 8, width: width - 16, height: height - legend - 18 };
    const first = this.rows[0].step;
    const span = Math.max(this.total - first, 1);
    pen.font = "11px sans-serif";
    pen.textBaseline = "middle";
    pen.strokeStyle = "#333";
    pen.strokeRect(box.left, box.top, box.width, box.height);
    names.forEach((name, index) => {
      const points = this.rows.filter((row) => Number.isFinite(row[name]));
      if (!points.length) return;
      // Each curve has its own scale: the terms differ by orders of magnitude, and their course is what matters.
      const values = points.map((row) => row[name]);
      const low = Math.min(...values);
      const range = Math.max(...values) - low || 1;
      pen.strokeStyle = pen.fillStyle = COLOURS[index];
      pen.lineWidth = 1.4;
      pen.beginPath();
      for (const row of points) {
        const x = box.left + ((row.step - first) / span) * box.width;
        const y = box.top + 4 + (1 - (row[name] - low) / range) * (box.height - 8);
        pen.lineTo(x, y);
      }
      pen.stroke();
      const x = 8 + (index % columns) * (width / columns);
      const y = height - legend - 4 + LINE * (Math.floor(index / columns) + 0.5);
      pen.fillRect(x, y - 4, 8, 8);
      pen.fillStyle = "#ccc";
      pen.fillText(`${name} ${values.at(-1).toPrecision(3)}`, x + 12, y, width / columns - 16);
    });
  }
}
