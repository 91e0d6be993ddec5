// The panel beside the film: what is said, who is in it, and what a search finds.
import { alone } from "./api.js";
import { byId, el, face, iconButton } from "./dom.js";
import { clock, colour, count, summary } from "./format.js";

/** The panel's tabs; `act` has seek(time), open(entity), line(utterance) and the maker of the tab "ask". */
export class Panel {
  constructor(source, player, act) {
    Object.assign(this, { source, player, act });
    this.lines = [];
    this.entities = [];
    this.items = [];
    this.tab = "said";
    this.search = byId("search");
    this.panel = byId("panel");
    this.makeTabs();
    let waiting = 0;
    this.search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.show(), 150);
    });
    player.listen((now) => this.follow(now));
  }

  makeTabs() {
    const names = [["said", "What is said"], ["cast", "People and things"], ...(alone ? [] : [["ask", "Ask"]])];
    this.tabs = names.map(([name, label]) =>
      el("button", { role: "tab", type: "button", id: `tab-${name}`, "aria-controls": "panel", onclick: () => this.choose(name) }, label));
    byId("tabs").append(...this.tabs);
    byId("tabs").addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const next = this.tabs[(this.tabs.indexOf(document.activeElement) + step + this.tabs.length) % this.tabs.length];
      next.click();
      next.focus();
    });
  }

  choose(name) {
    this.tab = name;
    this.search.value = "";
    this.show();
  }

  set(lines, entities) {
    this.lines = lines;
    this.entities = entities;
    this.show();
  }

  show() {
    const words = this.search.value.trim();
    for (const tab of this.tabs) {
      const chosen = !words && tab.id === `tab-${this.tab}`;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen || (words && tab.id === "tab-said") ? 0 : -1;
    }
    this.panel.setAttribute("aria-labelledby", `tab-${this.tab}`);
    this.items = [];
    if (words) this.showFound(words);
    else if (this.tab === "said") this.showLines();
    else if (this.tab === "cast") this.showCast();
    else this.panel.replaceChildren(this.act.askTab());
  }

  showLines() {
    if (!this.lines.length) {
      this.panel.replaceChildren(el("p", { class: "empty" }, "Nothing is said in this film, or nobody has written it down."));
      return;
    }
    this.items = this.lines.map((line) => ({ line, item: this.lineItem(line) }));
    this.panel.replaceChildren(el("ol", { class: "lines" }, ...this.items.map((one) => one.item)));
    this.current = null;
    this.follow(this.player.time);
  }

  lineItem(line, terms = []) {
    const name = el("span", {}, el("bdi", {}, line.label));
    name.style.color = colour(line.entity);
    const who = el("span", { class: "who" }, name, el("span", { class: "number" }, clock(line.start)));
    const go = el("button", { class: "go", type: "button", onclick: () => this.act.seek(line.start) }, who, el("p", { dir: "auto" }, ...marked(line.text, terms)));
    const edit = alone || !line.id ? null : iconButton("edit", `Who says this? Now: ${line.label}`, () => this.act.line(line));
    return el("li", {}, go, edit);
  }

  showCast() {
    const rows = this.entities.map((one) => {
      const name = el("b", {}, el("i", { class: "dot" }), el("bdi", {}, one.name));
      name.firstChild.style.background = colour(one.id);
      return el("li", {},
        el("button", { class: "who", type: "button", onclick: () => this.act.open(one) }, face(one, this.source.still(one.still)),
          el("span", {}, name, el("span", { class: "soft small" }, summary(one)))));
    });
    const nobody = el("p", { class: "empty" }, "Nobody has been told apart in this film.");
    this.panel.replaceChildren(rows.length ? el("ul", { class: "cast" }, ...rows) : nobody);
  }

  async showFound(words) {
    const asked = (this.asked = words);
    let got;
    try {
      got = await this.source.search(words, this.source.filmId());
    } catch (error) {
      this.panel.replaceChildren(el("p", { class: "empty" }, error.message));
      return;
    }
    if (asked !== this.asked || this.search.value.trim() !== words) return;
    const terms = words.split(/\s+/);
    const parts = [];
    if (got.said.length) {
      parts.push(el("h2", {}, `Said · ${count(got.said.length, "line")}`));
      parts.push(el("ol", { class: "lines" }, ...got.said.map((line) => this.lineItem(line, terms))));
    }
    if (got.shown.length) {
      parts.push(el("h2", {}, `Shown · ${count(got.shown.length, "shot")}`));
      parts.push(...got.shown.map((shot) => shownItem(shot, this.source, () => this.act.seek(shot.start + 0.05))));
    }
    const here = this.entities.filter((one) => got.names.some((name) => name.id === one.id));
    if (here.length) {
      parts.push(el("h2", {}, "People and things"));
      parts.push(...here.map((one) => el("button", { class: "shown", type: "button", onclick: () => this.act.open(one) },
        el("bdi", {}, one.name), el("span", { class: "soft small" }, summary(one)))));
    }
    if (!parts.length) parts.push(el("p", { class: "empty" }, "Nothing that is said or shown holds all these words."));
    this.panel.replaceChildren(...parts);
  }

  /** Marks the line that is being said, and keeps it in view while the film plays. */
  follow(now) {
    if (!this.items.length) return;
    let [low, high] = [0, this.items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.items[middle].line.start <= now + 0.05) low = middle + 1;
      else high = middle;
    }
    const found = this.items[low - 1]?.item ?? null;
    if (found === this.current) return;
    this.current?.classList.remove("now");
    this.current?.removeAttribute("aria-current");
    found?.classList.add("now");
    found?.setAttribute("aria-current", "true");
    this.current = found;
    if (found && !this.panel.matches(":hover") && !this.panel.contains(document.activeElement)) {
      const [box, item] = [this.panel.getBoundingClientRect(), found.getBoundingClientRect()];
      this.panel.scrollTop += item.top - box.top - box.height * 0.3;
    }
  }
}

/** Returns a row for a shot that a search found. */
export function shownItem(shot, source, press, note = "") {
  const still = source.still(shot.still);
  return el("button", { class: "shown", type: "button", onclick: press },
    still ? el("img", { src: still, alt: "", loading: "lazy" }) : null,
    el("span", {}, el("span", { dir: "auto" }, shot.text), el("span", { class: "soft small number" }, ` ${note} ${clock(shot.start)}`)));
}

/** Returns a text in pieces, those that hold a term marked. */
export function marked(text, terms) {
  const quoted = terms.filter(Boolean).map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (!quoted.length) return [text];
  const pieces = text.split(new RegExp(`(${quoted.join("|")})`, "giu"));
  return pieces.map((piece, at) => (at % 2 ? el("mark", {}, piece) : piece));
}
