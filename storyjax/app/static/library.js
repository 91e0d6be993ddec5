// The library: all films, and who and what is in them.
import { source } from "./api.js";
import { Corrections } from "./correct.js";
import { byId, el, face, toast } from "./dom.js";
import { clock, count, length, summary } from "./format.js";
import { listenToKeys, showHelp } from "./keys.js";
import { marked, shownItem } from "./panel.js";

let films = new Map();
const corrections = new Corrections(null, () => read(), async (kind) => (await source.entities(kind)).rows);

function filmCard(film) {
  const still = source.still(film.still);
  const picture = still ? el("img", { class: "still", src: still, alt: "", loading: "lazy", decoding: "async" }) : el("div", { class: "still" });
  const facts = film.state === "broken" ? film.reason ?? "cannot be read"
    : [film.seen ? count(film.seen, "person or thing", "people and things") : "", film.lines ? count(film.lines, "line") : ""].filter(Boolean).join(" · ");
  return el("li", {},
    el("a", { href: source.filmPage(film.id) },
      el("div", { class: "picture" }, picture, el("span", { class: "length" }, clock(film.duration))),
      el("h3", { dir: "auto" }, film.name), el("p", { class: "soft small" }, film.state === "partial" ? `${facts} · being analysed` : facts)));
}

function entityCard(one) {
  return el("li", {},
    el("button", { type: "button", onclick: () => openEntity(one) }, face(one, source.still(one.still)),
      el("span", { class: "name" }, el("bdi", {}, one.name)), el("span", { class: "soft small" }, one.seen ? length(one.seen) : summary(one))));
}

async function openEntity(one) {
  const got = await source.entity(one.id).catch((error) => toast(error.message));
  if (!got) return;
  const rows = got.films.map((film) =>
    el("a", { class: "chip", href: source.filmPage(film.id, film.first) }, `${film.name} · ${summary({ ...film, kind: one.kind })}`));
  const photos = el("input", { type: "file", accept: "image/*", multiple: true, class: "hear", tabindex: -1, onchange: () => sendPhotos(one, [...photos.files]) });
  const add = el("button", { class: "button", type: "button", onclick: () => photos.click() }, "Add photos");
  const details = el("div", {}, el("div", { class: "chips" }, ...rows), one.named ? el("p", {}, add, photos) : null);
  details.lastChild.style.marginTop = ".8rem";
  corrections.entity(one, details);
}

async function sendPhotos(one, files) {
  let last = null;
  try {
    for (const file of files) last = await source.photo(one.id, file);
    if (last) toast(last.message);
  } catch (error) {
    toast(error.message);
  }
}

async function showKind(kind, list, section) {
  const place = byId(list);
  const cards = [];
  for (let offset = 0; ; offset += 500) {
    const got = await source.entities(kind, offset);
    cards.push(...got.rows.map(entityCard));
    if (!got.rows.length || offset + got.rows.length >= got.total) break;
  }
  place.replaceChildren(...cards);
  byId(section).hidden = !cards.length;
}

async function search() {
  const words = byId("search").value.trim();
  const place = byId("results");
  place.hidden = !words;
  if (!words) return;
  const got = await source.search(words).catch((error) => toast(error.message));
  if (!got || byId("search").value.trim() !== words) return;
  const terms = words.split(/\s+/);
  const lines = got.said.map((line) =>
    el("li", {}, el("a", { class: "go", href: source.filmPage(line.film, line.start) },
      el("span", { class: "who" }, el("bdi", {}, line.label), el("span", { class: "number" }, `${films.get(line.film)?.name ?? ""} ${clock(line.start)}`)),
      el("p", { dir: "auto" }, ...marked(line.text, terms)))));
  const shots = got.shown.map((shot) => shownItem(shot, source, () => location.assign(source.filmPage(shot.film, shot.start + 0.05)), films.get(shot.film)?.name));
  const nothing = lines.length || shots.length ? null : el("p", { class: "soft" }, "Nothing that is said or shown holds all these words.");
  place.replaceChildren(el("header", {}, el("h2", {}, "Found")), el("ol", { class: "lines" }, ...lines), ...shots, nothing ?? "");
}

async function read() {
  const got = await source.library();
  films = new Map(got.films.map((film) => [film.id, film]));
  document.title = `${got.name} · storyjax`;
  byId("title").textContent = got.name;
  const total = got.films.reduce((sum, film) => sum + film.duration, 0);
  const parts = [count(got.films.length, "film"), total ? length(total) : ""];
  if (got.kinds.person) parts.push(count(got.kinds.person, "person", "people"));
  if (got.kinds.thing) parts.push(count(got.kinds.thing, "thing"));
  byId("counts").textContent = parts.filter(Boolean).join(" · ");
  byId("films").replaceChildren(...got.films.map(filmCard));
  await Promise.all([showKind("person", "people", "persons"), showKind("thing", "things", "objects")]);
  document.documentElement.dataset.ready = "true";
}

const keys = [
  ["/", "search all films", () => byId("search").focus()],
  ["u", "undo the last correction", () => corrections.undo()],
  ["?", "this list", () => showHelp(keys)],
];
listenToKeys(keys);
let waiting = 0;
byId("search").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(search, 150);
});
read().catch((error) => {
  byId("counts").textContent = error.message;
  document.documentElement.dataset.ready = "failed";
});
