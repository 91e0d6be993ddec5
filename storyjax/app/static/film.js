// The page of a film: puts its parts together, and reads what each needs.
import { alone, source } from "./api.js";
import { makeAskTab } from "./ask.js";
import { Corrections } from "./correct.js";
import { byId, el, icon, toast } from "./dom.js";
import { clock } from "./format.js";
import { listenToKeys, showHelp } from "./keys.js";
import { Overlay } from "./overlay.js";
import { Panel } from "./panel.js";
import { Player } from "./player.js";
import { Timeline } from "./timeline.js";

const NOBODY = { id: 0, name: "Unknown", kind: "person", still: null, seen: 0, lines: 0 };

async function open() {
  const film = await source.film(source.filmId());
  document.title = `${film.name} · storyjax`;
  byId("title").textContent = film.name;
  byId("back").prepend(icon("back"));
  byId("back").hidden = alone;
  const player = new Player(film, source.media(film));
  const entities = new Map();
  let lines = [];
  let version = 0;

  const corrections = new Corrections(player, () => reload(), async (kind) => (await source.entities(kind)).rows);
  const act = {
    seek: (time) => player.seek(time),
    open: (one) => openEntity(one),
    line: (line) => corrections.line(line, entities.get(line.entity)),
    askTab: () => (askTab ??= makeAskTab(film.id, act.seek, [...entities.values()])),
  };
  let askTab = null;
  const timeline = new Timeline(film, player, source, act);
  const panel = new Panel(source, player, act);
  const overlay = new Overlay(film, player, source, entities, (track) => {
    if (alone) openEntity(entities.get(track.entity));
    else corrections.track(track, entities.get(track.entity));
  });

  function openEntity(one) {
    if (!one?.id) return;
    const first = timeline.lanes.filter(([, entity]) => entity === one.id).slice(0, 60);
    const chips = first.map(([kind, , start]) => el("button", { class: "chip number", type: "button", onclick: (event) => {
      event.target.closest("dialog")?.close();
      player.seek(start + 0.05);
    } }, `${kind === "seen" ? "seen" : "speaks"} ${clock(start)}`));
    const places = el("div", { class: "chips" }, ...chips);
    places.style.maxHeight = "11rem";
    places.style.overflow = "auto";
    if (!alone) corrections.entity(one, places);
    else showPlaces(one, places);
  }

  async function read() {
    const rows = [];
    const spoken = [];
    const fresh = version ? await source.film(film.id) : film;
    await Promise.all([
      source.lanes(film.id, (got) => rows.push(...got)),
      source.utterances(film.id, (got) => spoken.push(...got)),
    ]);
    entities.clear();
    for (const one of fresh.entities) entities.set(one.id, one);
    lines = spoken;
    timeline.lanes = rows;
    const unknown = rows.some(([, entity]) => entity === 0) ? [NOBODY] : [];
    timeline.setEntities([...fresh.entities, ...unknown]);
    panel.set(lines, fresh.entities);
    player.setSubtitles(source.subtitles(film.id, version), lines);
    overlay.reload();
  }

  async function reload() {
    version++;
    await read().catch((error) => toast(error.message));
  }

  const step = (seconds) => () => player.seek(player.time + seconds);
  const keys = [
    [" ", "play or pause", () => player.toggle()],
    ["ArrowLeft", "5 seconds back", step(-5)],
    ["ArrowRight", "5 seconds on", step(5)],
    [",", "one frame back", step(-1 / (film.fps || 25))],
    [".", "one frame on", step(1 / (film.fps || 25))],
    ["ArrowUp", "previous line", () => player.seek(lines.findLast((line) => line.start < player.time - 0.5)?.start ?? 0)],
    ["ArrowDown", "next line", () => player.seek(lines.find((line) => line.start > player.time + 0.05)?.start ?? player.time)],
    ["/", "search what is said and shown", () => byId("search").focus()],
    ...(alone ? [] : [
      ["c", "correct who is in the picture", () => {
        const found = overlay.at(player.time).map(({ track }) => ({ track, entity: entities.get(track.entity) }));
        if (found.length) corrections.which(found);
        else toast("Nobody is in the picture now.");
      }],
      ["u", "undo the last correction", () => corrections.undo()],
    ]),
    ["s", "subtitles on or off", () => player.toggleSubtitles()],
    ["b", "names in the picture on or off", () => player.toggleBoxes()],
    ["f", "full screen", () => player.toggleFull()],
    ["+", "lanes: less time", () => timeline.zoomBy(1.6)],
    ["-", "lanes: more time", () => timeline.zoomBy(1 / 1.6)],
    ["0", "lanes: the whole film", () => timeline.zoomBy(0)],
    ["?", "this list", () => showHelp(keys)],
  ];
  listenToKeys(keys);
  source.shots(film.id, (rows) => {
    timeline.shots = timeline.shots.concat(rows);
    timeline.draw();
  }).catch((error) => toast(error.message));
  const toPlace = () => {
    const time = Number(new URLSearchParams(location.hash.slice(1)).get("t"));
    if (time > 0) player.seek(time);
  };
  addEventListener("hashchange", toPlace);
  await read();
  toPlace();
  document.documentElement.dataset.ready = "true";
}

function showPlaces(one, places) {
  const dialog = el("dialog", { "aria-label": one.name });
  const close = el("button", { class: "button", type: "button", onclick: () => dialog.close() }, "Close");
  dialog.append(el("div", { class: "body" }, el("h2", {}, el("bdi", {}, one.name)), places, el("div", { class: "buttons" }, close)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

open().catch((error) => {
  byId("trouble").textContent = error.message;
  byId("trouble").hidden = false;
  document.documentElement.dataset.ready = "failed";
});
