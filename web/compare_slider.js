// Two pictures on top of each other, with an edge between them that follows the pointer.

export class CompareSlider {
  static height = 220;

  constructor() {
    this.element = document.createElement("div");
    this.element.className = "facestylist-compare";
    this.element.style.cssText =
      "position:relative;width:100%;height:100%;min-height:80px;overflow:hidden;background:#1b1b1b;border-radius:6px";
    const cover = "position:absolute;inset:0;width:100%;height:100%;object-fit:contain;pointer-events:none";
    this.after = this.#add("img", cover);
    this.before = this.#add("img", cover);
    this.edge = this.#add("div", "position:absolute;top:0;bottom:0;width:2px;background:#fff;pointer-events:none");
    this.slider = this.#add("input", "position:absolute;inset:0;width:100%;height:100%;opacity:0;cursor:ew-resize;margin:0");
    Object.assign(this.slider, { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
    this.slider.setAttribute("aria-label", "How much of the first picture is seen");
    this.next = this.#add(
      "button",
      "position:absolute;right:6px;bottom:6px;display:none;border:0;border-radius:4px;padding:2px 8px;cursor:pointer;" +
        "background:#000a;color:#fff;font:12px sans-serif",
    );
    this.next.title = "Next pair";
    this.before.alt = "first picture";
    this.after.alt = "second picture";
    this.pairs = [];
    this.index = 0;
    this.slider.addEventListener("input", () => this.move(Number(this.slider.value)));
    this.element.addEventListener("pointermove", (event) => {
      const { left, width } = this.element.getBoundingClientRect();
      if (width && event.target !== this.next) this.move((100 * (event.clientX - left)) / width);
    });
    this.next.addEventListener("click", () => this.select(this.index + 1));
    this.move(50);
    this.#visible(false);
  }

  /** Shows pairs of pictures, given by their addresses; the shorter list repeats its last one. */
  show(before, after) {
    const count = before.length && after.length ? Math.max(before.length, after.length) : 0;
    const at = (list, index) => list[Math.min(index, list.length - 1)];
    this.pairs = Array.from({ length: count }, (_, index) => [at(before, index), at(after, index)]);
    this.#visible(count > 0);
    this.next.style.display = count > 1 ? "" : "none";
    if (count) this.select(Math.min(this.index, count - 1));
  }

  select(index) {
    this.index = index % this.pairs.length;
    [this.before.src, this.after.src] = this.pairs[this.index];
    this.next.textContent = `${this.index + 1} / ${this.pairs.length}`;
  }

  /** Puts the edge at so many per cent of the width. */
  move(percent) {
    const at = Math.min(100, Math.max(0, percent));
    this.slider.value = at;
    this.before.style.clipPath = `inset(0 ${100 - at}% 0 0)`;
    this.edge.style.left = `calc(${at}% - 1px)`;
  }

  #visible(shown) {
    for (const part of [this.before, this.after, this.edge]) part.style.visibility = shown ? "visible" : "hidden";
  }

  #add(tag, style) {
    const part = document.createElement(tag);
    part.style.cssText = style;
    return this.element.appendChild(part);
  }
}
