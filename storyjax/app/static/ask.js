// Questions about the film: asked of the server, answered with the times that the answer stands on.
import { source } from "./api.js";
import { el } from "./dom.js";
import { clock } from "./format.js";

/** Returns the tab in which questions are asked; what was asked stays while the page is open. */
export function makeAskTab(film, seek, entities) {
  const question = el("textarea", { class: "field", rows: 3, maxlength: 500, "aria-label": "Question", placeholder: "Who, when, where, with whom, saying what?" });
  const send = el("button", { class: "button main" }, "Ask");
  const answers = el("div", { "aria-live": "polite" });
  const ask = async () => {
    const words = question.value.trim();
    if (!words) return;
    send.disabled = true;
    const place = el("section", { class: "answer" }, el("p", { class: "soft small", dir: "auto" }, words));
    const bar = el("progress", { "aria-label": "Looking for an answer" });
    const note = el("p", { class: "soft small" });
    place.append(bar, note);
    answers.prepend(place);
    try {
      const done = await answered(await source.ask(words, film), (words) => (note.textContent = words));
      place.append(...shownAnswer(done, seek));
    } catch (error) {
      place.append(el("p", { class: "text" }, error.message));
    }
    bar.remove();
    note.remove();
    send.disabled = false;
  };
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      ask();
    }
  });
  const form = el("form", { class: "ask", onsubmit: (event) => { event.preventDefault(); ask(); } }, question, el("div", {}, send));
  const chips = examples(entities).map((words) =>
    el("button", { class: "chip", type: "button", onclick: () => { question.value = words; ask(); } }, words));
  form.append(el("div", { class: "chips", "aria-label": "Examples" }, ...chips));
  return el("div", {}, form, answers);
}

/** Returns questions that can be asked of whoever is in the film. */
function examples(entities) {
  const [one, other] = entities.filter((entity) => entity.kind === "person" && entity.lines).map((entity) => entity.name);
  if (!one) return [];
  return [`What does ${one} say first?`, ...(other ? [`When are ${one} and ${other} together?`, `How often does ${other} speak?`] : [])];
}

async function answered({ job }, progress) {
  for (let wait = 60; ; wait = Math.min(wait * 1.5, 1000)) {
    const state = await source.asked(job);
    if (state.state === "done") return state.answer;
    if (state.state === "failed") throw new Error(state.error);
    progress(state.note ?? "");
    await new Promise((go) => setTimeout(go, wait));
  }
}

function shownAnswer(answer, seek) {
  const parts = [el("p", { class: "text", dir: "auto" }, answer.text)];
  if (answer.note) parts.push(el("p", { class: "soft small" }, answer.note));
  if (answer.evidence.length) {
    const chips = answer.evidence.map((one) =>
      one.here
        ? el("button", { class: "chip number", type: "button", title: one.text, onclick: () => seek(one.start) }, `${clock(one.start)} – ${clock(one.end)}`)
        : el("a", { class: "chip number", title: one.text, href: source.filmPage(one.film, one.start) }, `${one.name} ${clock(one.start)}`));
    parts.push(el("div", { class: "chips", "aria-label": "What the answer stands on" }, ...chips));
  }
  return parts;
}
