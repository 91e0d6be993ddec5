// Names over the film: boxes of tracks, drawn on a canvas that has the size of the picture, in step with it.
import { byId } from "./dom.js";
import { filmColour } from "./format.js";

const WINDOW = 30;
const LONGEST_GAP = 1.0;

/** Draws who and what is in the picture. `entities` is a Map of id to entity, `pick` is told of a click on a track. */
export class Overlay {
  constructor(film, player, source, entities, pick) {
    Object.assign(this, { film, player, source, entities, pick });
    this.canvas = byId("overlay");
    this.windows = new Map();
    this.shown = [];
    new ResizeObserver(() => this.resize()).observe(byId("screen"));
    player.video.addEventListener("loadedmetadata", () => this.resize());
    player.listen((now) => this.draw(now));
    this.canvas.addEventListener("click", (event) => this.click(event));
    this.canvas.addEventListener("pointermove", (event) => (this.canvas.style.cursor = this.hit(event) ? "pointer" : ""));
    this.resize();
  }

  /** Forgets what was read: it has been corrected. */
  reload() {
    this.windows.clear();
    this.draw(this.player.time);
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    const scale = globalThis.devicePixelRatio || 1;
    this.canvas.width = Math.round(box.width * scale);
    this.canvas.height = Math.round(box.height * scale);
    const { videoWidth, videoHeight } = this.player.video;
    const [w, h] = videoWidth ? [videoWidth, videoHeight] : [this.film.width || 16, this.film.height || 9];
    const fit = Math.min(box.width / w, box.height / h) || 1;
    this.picture = { left: (box.width - w * fit) / 2, top: (box.height - h * fit) / 2, width: w * fit, height: h * fit, scale };
    this.draw(this.player.time);
  }

  rows(now) {
    const number = Math.floor(now / WINDOW);
    for (const wanted of [number, number + 1]) {
      if (wanted * WINDOW <= this.film.duration && !this.windows.has(wanted)) this.load(wanted);
    }
    return this.windows.get(number) ?? [];
  }

  async load(number) {
    if (this.windows.size > 8) this.windows.delete(this.windows.keys().next().value);
    const windows = this.windows;
    windows.set(number, []);
    try {
      const got = await this.source.tracks(this.film.id, number * WINDOW, (number + 1) * WINDOW);
      windows.set(number, got.rows);
      this.draw(this.player.time);
    } catch {
      windows.delete(number);
    }
  }

  /** Returns the tracks that are in the picture at a time, each with its box. */
  at(now) {
    const found = [];
    for (const track of this.rows(now)) {
      if (track.start - 0.1 > now || track.end + 0.1 < now) continue;
      const box = boxAt(track.boxes, now);
      if (box) found.push({ track, box });
    }
    return found;
  }

  draw(now) {
    const pen = this.canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.shown = this.at(now);
    const names = this.shown.map(({ track }) => this.name(track));
    const label = names.length ? `In the picture: ${names.join(", ")}` : "Nobody is in the picture";
    if (this.canvas.getAttribute("aria-label") !== label) this.canvas.setAttribute("aria-label", label);
    const { left, top, width, height, scale } = this.picture;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    for (const one of this.shown) {
      const [l, t, w, h] = one.box;
      one.place = [left + l * width, top + t * height, w * width, h * height];
      this.drawBox(pen, one.track, one.place);
    }
  }

  drawBox(pen, track, [x, y, w, h]) {
    const paint = filmColour(track.entity);
    pen.lineWidth = 4;
    pen.strokeStyle = "rgba(10,9,8,.45)";
    round(pen, x, y, w, h, 7);
    pen.stroke();
    pen.lineWidth = 2;
    pen.strokeStyle = paint;
    if (!track.entity) pen.setLineDash([5, 5]);
    pen.stroke();
    pen.setLineDash([]);
    const name = this.name(track);
    pen.font = "600 13px Inter, system-ui, sans-serif";
    pen.textBaseline = "middle";
    const wide = Math.min(pen.measureText(name).width, 220) + 16;
    const high = 22;
    const above = y - high - 3 >= 2;
    const left = Math.max(2, Math.min(x - 1, this.picture.left * 2 + this.picture.width - wide - 2));
    const level = above ? y - high - 3 : y + 4;
    pen.fillStyle = paint;
    round(pen, left, level, wide, high, 6);
    pen.fill();
    pen.fillStyle = "#14110d";
    pen.fillText(name, left + 8, level + high / 2 + 0.5, 220);
  }

  name(track) {
    return this.entities.get(track.entity)?.name ?? (track.kind === "person" ? "Unknown" : track.category ?? "Unknown");
  }

  hit(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const inside = this.shown.filter(({ place: [l, t, w, h] }) => x >= l && x <= l + w && y >= t - 26 && y <= t + h);
    inside.sort((a, b) => a.place[2] * a.place[3] - b.place[2] * b.place[3]);
    return inside[0] ?? null;
  }

  click(event) {
    const found = this.hit(event);
    if (found) this.pick(found.track);
    else this.player.toggle();
  }
}

function round(pen, x, y, w, h, r) {
  pen.beginPath();
  pen.roundRect(x, y, w, h, Math.min(r, w / 2, h / 2));
}

/** Returns the box of a track at a time, between the two that are nearest; null where it has none around it. */
export function boxAt(boxes, now) {
  let low = 0;
  let high = boxes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (boxes[middle][0] <= now) low = middle + 1;
    else high = middle;
  }
  const [before, after] = [boxes[low - 1], boxes[low]];
  if (before && after && after[0] - before[0] <= LONGEST_GAP) {
    const part = (now - before[0]) / (after[0] - before[0]);
    return [1, 2, 3, 4].map((i) => before[i] + (after[i] - before[i]) * part);
  }
  const near = [before, after].filter((box) => box && Math.abs(box[0] - now) < 0.3)[0];
  return near ? near.slice(1) : null;
}
