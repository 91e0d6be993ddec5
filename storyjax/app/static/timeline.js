// Lanes of who is seen and who speaks, and the strip of shots above them, on one axis of time that zooms.
import { byId, el, face, iconButton } from "./dom.js";
import { clock, colour, summary } from "./format.js";

const [AXIS, STRIP, ROW] = [26, 56, 30];
const STILL_WIDTH = 74;

/** Draws the lanes; `act` has seek(time) and open(entity). */
export class Timeline {
  constructor(film, player, source, act) {
    Object.assign(this, { film, player, source, act });
    this.lanes = [];
    this.shots = [];
    this.order = [];
    this.zoom = 1;
    this.first = 0;
    this.box = byId("time");
    this.strip = el("div", { class: "strip", "aria-hidden": "true" });
    this.canvas = el("canvas", { role: "img", "aria-label": "Times at which people and things are seen and heard" });
    this.playhead = el("div", { class: "playhead" });
    this.box.append(this.strip, this.canvas, this.playhead);
    this.stills = new Map();
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.listenToPointer();
    player.listen((now) => this.follow(now));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    const head = byId("lanes-title").parentElement;
    head.append(
      iconButton("minus", "Show more time (−)", () => this.zoomBy(1 / 1.6)),
      iconButton("plus", "Show less time (+)", () => this.zoomBy(1.6)),
      iconButton("fit", "Show the whole film (0)", () => this.zoomBy(0)),
    );
  }

  get span() {
    return this.film.duration / this.zoom;
  }

  setEntities(entities) {
    this.order = entities;
    const rows = entities.map((one) =>
      el("li", {},
        el("button", { type: "button", title: `${one.name}: ${summary(one)}`, onclick: () => this.act.open(one) },
          face(one, this.source.still(one.still)), el("span", { class: "name" }, el("bdi", {}, one.name)),
          el("span", { class: "hear" }, `, ${summary(one)}`))));
    byId("names").replaceChildren(...rows);
    this.draw();
  }

  zoomBy(factor, around = this.player.time) {
    const kept = (around - this.first) / this.span;
    this.zoom = factor ? Math.min(Math.max(1, this.zoom * factor), Math.max(1, this.film.duration / 4)) : 1;
    this.first = around - kept * this.span;
    this.settle();
  }

  settle() {
    this.first = Math.max(0, Math.min(this.first, this.film.duration - this.span));
    this.draw();
    this.follow(this.player.time, true);
  }

  x(time) {
    return ((time - this.first) / this.span) * this.width;
  }

  timeAt(event) {
    const box = this.box.getBoundingClientRect();
    return this.first + ((event.clientX - box.left) / box.width) * this.span;
  }

  follow(now, still = false) {
    if (!still && this.zoom > 1 && !this.player.video.paused && (now < this.first || now > this.first + this.span)) {
      this.first = now - this.span * 0.1;
      this.settle();
      return;
    }
    const x = this.x(now);
    this.playhead.hidden = x < 0 || x > this.width;
    this.playhead.style.transform = `translateX(${x}px)`;
  }

  draw() {
    const box = this.box.getBoundingClientRect();
    this.width = box.width || 1;
    const height = AXIS + STRIP + ROW * Math.max(1, this.order.length) + 6;
    this.box.style.height = `${height}px`;
    const scale = globalThis.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const style = getComputedStyle(document.documentElement);
    this.drawAxis(pen, style, height);
    const rowOf = new Map(this.order.map((one, row) => [one.id, row]));
    for (const what of ["seen", "said"]) {
      for (const [kind, entity, start, end] of this.lanes) {
        const row = rowOf.get(entity);
        if (kind !== what || row === undefined || end < this.first || start > this.first + this.span) continue;
        const [x, w] = [this.x(start), Math.max(1.5, this.x(end) - this.x(start))];
        const y = AXIS + STRIP + row * ROW;
        pen.fillStyle = paint(style, entity);
        pen.globalAlpha = what === "seen" ? 0.34 : 1;
        pen.beginPath();
        if (what === "seen") pen.roundRect(x, y + 6, w, 18, Math.min(5, w / 2));
        else pen.roundRect(x, y + 12.5, w, 5, Math.min(2.5, w / 2));
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
    this.drawStrip();
    this.follow(this.player.time, true);
  }

  drawAxis(pen, style, height) {
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    const step = steps.find((one) => (one / this.span) * this.width > 74) ?? 7200;
    pen.font = "500 11px Inter, system-ui, sans-serif";
    pen.textBaseline = "middle";
    for (let time = Math.ceil(this.first / step) * step; time <= this.first + this.span; time += step) {
      const x = Math.round(this.x(time)) + 0.5;
      pen.fillStyle = style.getPropertyValue("--line");
      pen.fillRect(x - 0.5, AXIS + STRIP - 2, 1, height);
      pen.fillStyle = style.getPropertyValue("--faint");
      const wide = pen.measureText(clock(time)).width;
      if (x + wide + 4 < this.width) pen.fillText(clock(time), x + 3, 13);
      pen.fillRect(x - 0.5, 8, 1, 10);
    }
  }

  /** Pictures of shots, as many as fit beside each other without a gap. */
  drawStrip() {
    const wanted = new Map();
    const cells = Math.max(1, Math.ceil(this.width / STILL_WIDTH));
    for (let cell = 0; cell < cells && this.shots.length; cell++) {
      const middle = this.first + ((cell + 0.5) / cells) * this.span;
      const shot = shotAt(this.shots, middle);
      if (shot?.still) wanted.set(cell, { shot, left: (cell / cells) * this.width, width: this.width / cells });
    }
    for (const [cell, image] of this.stills) {
      if (!wanted.has(cell)) { image.remove(); this.stills.delete(cell); }
    }
    for (const [cell, { shot, left, width }] of wanted) {
      let image = this.stills.get(cell);
      if (!image) {
        image = el("img", { alt: "", loading: "lazy", decoding: "async" });
        this.stills.set(cell, image);
        this.strip.append(image);
      }
      const url = this.source.still(shot.still);
      if (image.getAttribute("src") !== url) image.src = url;
      image.style.left = `${left}px`;
      image.style.width = `${width - 2}px`;
    }
  }

  listenToPointer() {
    let drag = null;
    this.box.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, first: this.first, moved: false };
      this.box.setPointerCapture(event.pointerId);
    });
    this.box.addEventListener("pointermove", (event) => {
      const time = this.timeAt(event);
      const shot = shotAt(this.shots, time);
      this.box.title = `${clock(time)}${shot?.shows.length ? `: ${shot.shows.join(", ")}` : ""}`;
      if (!drag) return;
      const gone = event.clientX - drag.x;
      if (Math.abs(gone) > 4) drag.moved = true;
      if (drag.moved && this.zoom > 1) {
        this.first = drag.first - (gone / this.width) * this.span;
        this.settle();
      }
    });
    this.box.addEventListener("pointerup", (event) => {
      if (drag && !drag.moved) this.act.seek(this.timeAt(event));
      drag = null;
    });
    this.box.addEventListener("pointercancel", () => (drag = null));
    this.box.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        this.zoomBy(Math.exp(-event.deltaY / 200), this.timeAt(event));
      } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) && this.zoom > 1) {
        event.preventDefault();
        this.first += (event.deltaX / this.width) * this.span;
        this.settle();
      }
    }, { passive: false });
  }
}

/** Returns the shot at a time: they are in order. */
export function shotAt(shots, time) {
  let [low, high] = [0, shots.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (shots[middle].start <= time) low = middle + 1;
    else high = middle;
  }
  return shots[low - 1] ?? shots[0];
}

function paint(style, entity) {
  const name = colour(entity).slice(4, -1);
  return style.getPropertyValue(name);
}
