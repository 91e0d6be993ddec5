// Corrections in place: who somebody is, who says a line, one person under two names, and taking the last one back.
import { source } from "./api.js";
import { byId, el, face, toast } from "./dom.js";
import { clock, summary } from "./format.js";

/** Dialogs that correct; `changed` is called when something was. `known` returns all people and things by kind. */
export class Corrections {
  constructor(player, changed, known) {
    Object.assign(this, { player, changed, known });
  }

  /** Asks who or what is followed by a track. */
  async track(track, entity) {
    const kind = track.kind === "thing" || track.kind === "object" ? "thing" : "person";
    const now = this.player.time;
    const inside = now > track.start + 0.3 && now < track.end - 0.3;
    const scopes = [["track", `here, ${clock(track.start, true)} to ${clock(track.end, true)}`]];
    if (inside) scopes.push(["after", `from now on, ${clock(now, true)} to ${clock(track.end, true)}`]);
    if (entity) scopes.push(["all", `wherever ${entity.name} is seen or heard`]);
    this.ask({
      title: kind === "person" ? "Who is this?" : "What is this?",
      note: entity ? `${entity.name} until now${track.confidence ? `, ${Math.round(100 * track.confidence)} % sure` : ""}` : "Nobody knows yet",
      picture: face(entity ?? { name: "?", kind }, source.still(track.still)),
      kind,
      now: entity,
      scopes,
      reject: entity ? () => ({ action: "reject", track: track.id }) : null,
      make: (who, scope) => {
        if (scope === "all") return this.everywhere(entity, who);
        return { action: "assign", track: track.id, ...who, ...(scope === "after" ? { from: now, to: track.end } : {}) };
      },
    });
  }

  /** Asks which of several in the picture is meant, and then who it is. `found` has tracks with their entities. */
  which(found) {
    if (found.length === 1) return this.track(found[0].track, found[0].entity);
    const dialog = el("dialog", { "aria-labelledby": "which-title" });
    const rows = found.map(({ track, entity }) => {
      const choose = () => { dialog.close(); this.track(track, entity); };
      const name = entity?.name ?? track.category ?? "Unknown";
      return el("button", { class: "choice", type: "button", onclick: choose }, face(entity ?? { name, kind: track.kind }, source.still(track.still)), el("bdi", {}, name));
    });
    dialog.append(el("div", { class: "body" }, el("h2", { id: "which-title" }, "Which one?"), el("div", {}, ...rows)));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    this.player?.video.pause();
    dialog.showModal();
  }

  /** Asks who says a line. */
  async line(line, entity) {
    this.ask({
      title: "Who says this?",
      note: `“${line.text}”`,
      picture: face(entity ?? { name: line.label, kind: "person" }, source.still(entity?.still)),
      kind: "person",
      now: entity,
      scopes: entity ? [["line", "this line"], ["all", `wherever ${entity.name} is seen or heard`]] : [["line", "this line"]],
      reject: entity ? () => ({ action: "reject", utterance: line.id }) : null,
      make: (who, scope) => (scope === "all" ? this.everywhere(entity, who) : { action: "assign", utterance: line.id, ...who }),
    });
  }

  /** Shows somebody, with another name or a merge as what can be done. */
  async entity(entity, details) {
    this.ask({
      title: entity.name,
      note: summary(entity) || "neither seen nor heard here",
      picture: face(entity, source.still(entity.still)),
      kind: entity.kind,
      now: entity,
      scopes: [["all", `wherever ${entity.name} is seen or heard`]],
      reject: null,
      details,
      make: (who) => this.everywhere(entity, who),
    });
  }

  everywhere(entity, who) {
    if (who.entity) return { action: "merge", entity: entity.id, into: who.entity };
    return { action: "rename", entity: entity.id, name: who.name };
  }

  async ask({ title, note, picture, kind, now, scopes, reject, make, details }) {
    const dialog = el("dialog", { "aria-labelledby": "ask-title" });
    const others = (await this.known(kind)).filter((one) => one.id !== now?.id);
    const list = el("datalist", { id: "known-names" }, ...others.map((one) => el("option", { value: one.name })));
    const name = el("input", { class: "field", list: "known-names", maxlength: 100, autocomplete: "off", required: true, dir: "auto", placeholder: "A name, known or new" });
    const wrong = el("p", { class: "wrong", role: "alert", hidden: true });
    const save = el("button", { class: "button main" }, "Save");
    const named = () => others.find((one) => one.name.toLowerCase() === name.value.trim().toLowerCase());
    const chosen = () => form.querySelector("input[type=radio]:checked")?.value ?? scopes[0][0];
    const label = () => {
      const other = named();
      save.textContent = chosen() === "all" && other ? `Merge into ${other.name}` : chosen() === "all" && now ? "Rename" : "Save";
    };
    const send = async (value) => {
      save.disabled = true;
      try {
        const done = await source.correct(value);
        dialog.close();
        this.changed();
        toast(done.message, "Undo", () => this.undo());
      } catch (error) {
        wrong.textContent = error.message;
        wrong.hidden = false;
        save.disabled = false;
      }
    };
    const radios = scopes.length < 2 ? null : el("fieldset", {}, el("legend", { class: "hear" }, "Where"),
      ...scopes.map(([value, words], at) => el("label", {}, el("input", { type: "radio", name: "scope", value, checked: at === 0, onchange: label }), el("span", {}, words))));
    const form = el("form", { onsubmit: (event) => {
      event.preventDefault();
      const other = named();
      send(make(other ? { entity: other.id } : { name: name.value.trim() }, chosen()));
    } },
    el("header", {}, picture, el("div", {}, el("h2", { id: "ask-title", dir: "auto" }, title), el("p", { class: "soft small", dir: "auto" }, note))),
    details ?? null,
    el("label", { class: "of" }, title.endsWith("?") ? "This is" : "Another name, or somebody this is the same as", name),
    list, radios, wrong,
    el("div", { class: "buttons" },
      reject ? el("button", { class: "button warn left", type: "button", onclick: () => send(reject()) }, `This is not ${now.name}`) : null,
      el("button", { class: "button", type: "button", onclick: () => dialog.close() }, "Cancel"), save));
    name.addEventListener("input", label);
    dialog.append(form);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    this.player?.video.pause();
    dialog.showModal();
    name.focus();
    label();
  }

  async undo() {
    try {
      toast((await source.undo()).message);
      this.changed();
    } catch (error) {
      toast(error.message);
    }
  }
}
