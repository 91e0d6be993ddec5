// The player: the film, its own controls, subtitles in the colours of who speaks.
import { byId, el, icon, iconButton } from "./dom.js";
import { clock, filmColour } from "./format.js";

/** Plays the film of the page; `listen` adds functions that are told the time whenever it changes. */
export class Player {
  constructor(film, url) {
    this.film = film;
    this.video = byId("video");
    this.stage = byId("stage");
    this.listeners = [];
    this.colourOf = () => "#fff";
    this.video.src = url;
    this.video.addEventListener("error", () => this.tellTrouble());
    this.makeBar();
    for (const name of ["timeupdate", "seeking", "seeked", "loadedmetadata", "pause"]) this.video.addEventListener(name, () => this.moved());
    for (const name of ["play", "pause", "volumechange"]) this.video.addEventListener(name, () => this.showState());
    this.followFrames();
    this.showState();
  }

  get time() {
    return this.video.currentTime || 0;
  }

  get duration() {
    return Number.isFinite(this.video.duration) && this.video.duration > 0 ? this.video.duration : this.film.duration;
  }

  listen(told) {
    this.listeners.push(told);
  }

  seek(seconds) {
    this.video.currentTime = Math.max(0, Math.min(seconds, Math.max(0, this.duration - 0.05)));
    this.moved();
  }

  toggle() {
    if (this.video.paused) this.video.play().catch(() => this.tellTrouble());
    else this.video.pause();
  }

  followFrames() {
    const frame = (_, facts) => {
      this.moved(facts?.mediaTime);
      next();
    };
    const next = () => (this.video.requestVideoFrameCallback ? this.video.requestVideoFrameCallback(frame) : requestAnimationFrame(frame));
    next();
  }

  moved(exact) {
    const now = exact ?? this.time;
    this.slider.value = String(now);
    this.slider.max = String(this.duration);
    this.slider.setAttribute("aria-valuetext", `${clock(now)} of ${clock(this.duration)}`);
    this.clock.firstChild.data = clock(now);
    this.clock.lastChild.textContent = ` / ${clock(this.duration)}`;
    for (const told of this.listeners) told(now);
  }

  makeBar() {
    this.playButton = iconButton("play", "Play", () => this.toggle());
    this.clock = el("span", { class: "time" }, "0:00", el("i", {}, ` / ${clock(this.film.duration)}`));
    const seekTo = () => this.seek(Number(this.slider.value));
    this.slider = el("input", { type: "range", min: 0, max: this.film.duration, step: 0.1, value: 0, "aria-label": "Time", oninput: seekTo });
    this.muteButton = iconButton("sound", "Mute", () => (this.video.muted = !this.video.muted));
    const volume = el("input", { type: "range", class: "volume", min: 0, max: 1, step: 0.05, value: 1, "aria-label": "Volume", oninput: () => (this.video.volume = Number(volume.value)) });
    this.subtitleButton = iconButton("subtitles", "Subtitles (s)", () => this.toggleSubtitles(), { "aria-pressed": "true" });
    this.boxButton = iconButton("boxes", "Names in the picture (b)", () => this.toggleBoxes(), { "aria-pressed": "true" });
    const full = iconButton("full", "Full screen (f)", () => this.toggleFull());
    byId("bar").append(this.playButton, this.clock, this.slider, this.muteButton, volume, this.subtitleButton, this.boxButton, full);
    byId("overlay").addEventListener("dblclick", () => this.toggleFull());
  }

  showState() {
    const paused = this.video.paused;
    this.playButton.replaceChildren(icon(paused ? "play" : "pause"));
    this.playButton.setAttribute("aria-label", paused ? "Play" : "Pause");
    this.playButton.title = `${paused ? "Play" : "Pause"} (space)`;
    this.muteButton.replaceChildren(icon(this.video.muted ? "mute" : "sound"));
    this.muteButton.setAttribute("aria-label", this.video.muted ? "Sound on" : "Mute");
  }

  toggleFull() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.stage.requestFullscreen?.();
  }

  toggleSubtitles() {
    const on = byId("cue").hidden;
    byId("cue").hidden = !on;
    this.subtitleButton.setAttribute("aria-pressed", String(on));
  }

  toggleBoxes() {
    const on = byId("overlay").hidden;
    byId("overlay").hidden = !on;
    this.boxButton.setAttribute("aria-pressed", String(on));
  }

  /** Shows subtitles: of the server's WebVTT, or made from the lines themselves. */
  setSubtitles(url, lines) {
    this.video.querySelector("track")?.remove();
    let track;
    if (url) {
      const made = el("track", { kind: "subtitles", label: "Who says what", srclang: "en", src: url, default: true });
      this.video.append(made);
      track = made.track;
    } else {
      track = this.madeTrack ??= this.video.addTextTrack("subtitles", "Who says what");
      for (const line of lines) {
        const cue = new VTTCue(line.start, Math.max(line.end, line.start + 0.3), line.text);
        cue.id = String(line.entity);
        cue.spoken = { name: line.label, text: line.text };
        track.addCue(cue);
      }
    }
    track.mode = "hidden"; // loaded and timed by the browser, drawn here
    this.track = track;
    track.oncuechange = () => track === this.track && this.drawCues();
  }

  drawCues() {
    const rows = [...(this.track.activeCues ?? [])].map((cue) => {
      const voice = cue.spoken ? null : cue.getCueAsHTML();
      const name = cue.spoken?.name ?? voice.querySelector("[title]")?.title ?? "";
      const text = cue.spoken?.text ?? voice.textContent;
      const who = el("b", {}, el("bdi", {}, name));
      who.style.color = filmColour(Number(cue.id));
      return el("div", {}, el("span", {}, who, "  ", text));
    });
    byId("cue").replaceChildren(...rows);
  }

  tellTrouble() {
    const trouble = byId("trouble");
    const code = this.video.error?.code;
    trouble.textContent =
      code === 4 ? "This browser cannot play the film's file, or the file has moved. All that is known of it works without it."
        : "The film stopped playing: is its file still there?";
    trouble.hidden = false;
  }
}
