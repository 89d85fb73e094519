// What is looked into: models, a text, a length. The same for the tabs that look inside.

const POLL = 200;
const OWN = "own";
const OWN_KEY = "freeatten-own-text";

/** An analysis that can be asked for again when the server has dropped it. */
class Analysis {
  constructor(wanted, told) {
    this.wanted = wanted;
    this.told(told);
  }

  told(answer) {
    Object.assign(this, answer);
  }

  /** A call about this analysis, which is made anew first when it is gone. */
  async call(name, given = {}) {
    try {
      return await call(name, { id: this.id, ...given });
    } catch (error) {
      if (!(error instanceof GoneError)) throw error;
      await this.renew();
      return call(name, { id: this.id, ...given });
    }
  }

  renew() {
    this.renewing ??= finished(this.wanted, () => {}).then((told) => this.told(told))
      .finally(() => { this.renewing = null; });
    return this.renewing;
  }
}

class CancelledError extends Error {}

/** Starts an analysis and waits for it. */
async function finished(wanted, tell, began = () => {}) {
  const { job } = await call("start", wanted);
  began(job);
  for (;;) {
    const told = await call("progress", { job });
    tell(told);
    if (told.state === "done") return told;
    if (told.state === "failed") throw new Error(told.error);
    if (told.state === "cancelled") throw new CancelledError("cancelled");
    await new Promise((resolve) => { setTimeout(resolve, POLL); });
  }
}

class Setup {
  constructor(choices, changed) {
    this.choices = choices;
    this.changed = changed;
    this.analyses = [];
    this.done = new Map();
    this.job = null;
    this.shown = "";
    this.current = new URLSearchParams();
    this.build();
    this.own = this.storedOwn();
  }

  build() {
    const ticks = this.choices.models.map(({ id, label, first }) => {
      const box = make("input", { type: "checkbox", name: "model", value: id });
      box.checked = first;
      return make("label", {}, box, ` ${label}`);
    });
    byId("models").append(...ticks);
    byId("other").placeholder = this.choices.folders ? "folder or owner/name" : "owner/name";
    const options = [...this.choices.texts, { id: OWN, label: "your own text" }];
    byId("text").append(...options.map(({ id, label }) => make("option", { value: id }, label)));
    byId("length").append(...this.choices.lengths.map((value) =>
      make("option", { value }, value.toLocaleString("en"))));
    byId("length").value = this.choices.length;
    byId("text").addEventListener("change", () => this.showOwn());
    byId("content").addEventListener("input", () => this.typed());
    byId("file").addEventListener("change", () => this.fileChosen());
    byId("cancel").addEventListener("click", () => this.cancel());
    byId("setup").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
  }

  // The user's own text stays in this browser tab: a link names it by its digest alone.

  storedOwn() {
    try {
      return JSON.parse(sessionStorage.getItem(OWN_KEY)) ?? { name: "", content: "" };
    } catch {
      return { name: "", content: "" };
    }
  }

  showOwn() {
    byId("own").hidden = byId("text").value !== OWN;
    if (byId("content").value !== this.own.content) byId("content").value = this.own.content;
    byId("file-name").textContent = this.own.name;
  }

  typed() {
    this.own = { name: "", content: byId("content").value };
    byId("file-name").textContent = "";
  }

  async fileChosen() {
    const [file] = byId("file").files;
    if (!file) return;
    try {
      if (file.size > this.choices.characters) {
        throw new Error(`the file has ${file.size.toLocaleString("en")} bytes; at most `
          + `${this.choices.characters.toLocaleString("en")} are taken`);
      }
      const bytes = await file.arrayBuffer();
      const content = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
      if (content.includes("\0")) throw new TypeError();
      this.own = { name: file.name.slice(0, 200), content };
      this.showOwn();
      this.say("");
    } catch (error) {
      const binary = error instanceof TypeError;
      this.say(binary ? `${file.name} is not UTF-8 text` : error.message, true);
    }
    byId("file").value = "";
  }

  // The state, in the page and in the link

  models() {
    const ticked = [...document.querySelectorAll("[name=model]:checked")].map((box) => box.value);
    const other = byId("other").value.trim();
    return [...new Set(other ? [...ticked, other] : ticked)];
  }

  state() {
    const parts = new URLSearchParams({ models: this.models().join(",") });
    parts.set("text", byId("text").value);
    parts.set("len", byId("length").value);
    parts.set("seed", byId("seed").value);
    if (byId("text").value === OWN) parts.set("digest", digest(this.own.content));
    return parts;
  }

  /** Shows what a link says; false when it is of a text that this browser does not have. */
  restore(parts) {
    if (parts.has("models")) this.restoreModels(parts.get("models").split(",").filter(Boolean));
    for (const [id, name] of [["text", "text"], ["length", "len"]]) {
      const value = parts.get(name);
      if ([...byId(id).options].some((option) => option.value === value)) byId(id).value = value;
    }
    if (/^\d{1,7}$/.test(parts.get("seed") ?? "")) byId("seed").value = parts.get("seed");
    this.showOwn();
    if (byId("text").value !== OWN) return true;
    return !parts.has("digest") || parts.get("digest") === digest(this.own.content);
  }

  restoreModels(wanted) {
    const boxes = [...document.querySelectorAll("[name=model]")];
    for (const box of boxes) box.checked = wanted.includes(box.value);
    const known = boxes.map((box) => box.value);
    byId("other").value = wanted.find((one) => !known.includes(one)) ?? "";
  }

  // Analyses

  wanted() {
    const kind = byId("text").value;
    const own = kind === OWN ? this.own : { name: "", content: "" };
    const text = { kind, name: own.name, content: own.content };
    const common = { text, length: Number(byId("length").value), seed: Number(byId("seed").value) };
    return this.models().map((checkpoint) => ({ checkpoint, ...common }));
  }

  /** Analyses what is chosen, as far as it is not there yet; then the tab is shown anew. */
  async run() {
    if (this.running) return;
    this.running = true;
    byId("look").disabled = true;
    this.say("");
    try {
      const [wanted, state] = [this.wanted(), this.state()];
      if (!wanted.length) throw new Error("choose at least one model");
      if (wanted.length > 8) throw new Error("choose at most 8 models");
      const found = [];
      for (const [at, one] of wanted.entries()) found.push(await this.analysed(one, at, wanted.length));
      if (new Set(found.map((one) => one.tokenizer)).size > 1) {
        throw new Error("these checkpoints cut the text into different tokens; look at them one at a time");
      }
      if (wanted[0].text.kind === OWN) this.keepOwn();
      this.analyses = found;
      this.shown = JSON.stringify(wanted);
      this.current = state;
      await this.changed();
    } catch (error) {
      this.say(error instanceof CancelledError ? "Cancelled." : error.message, !(error instanceof CancelledError));
    } finally {
      this.running = false;
      byId("look").disabled = false;
      for (const id of ["progress", "cancel"]) byId(id).hidden = true;
    }
  }

  async analysed(wanted, at, count) {
    const key = JSON.stringify(wanted);
    const known = this.done.get(key);
    if (known) return known;
    for (const id of ["progress", "cancel"]) byId(id).hidden = false;
    const told = await finished(wanted, ({ state, share }) => {
      byId("progress").value = (at + share) / count;
      const waits = state === "waiting" ? ": waiting for other analyses" : "";
      this.say(`Reading with ${wanted.checkpoint} (${at + 1} of ${count})${waits}`);
    }, (job) => { this.job = job; });
    this.say("");
    const made = new Analysis(wanted, told);
    this.done.set(key, made);
    if (this.done.size > 32) this.done.delete(this.done.keys().next().value);
    return made;
  }

  cancel() {
    if (this.job) call("cancel", { job: this.job }).catch(() => {});
  }

  keepOwn() {
    try {
      sessionStorage.setItem(OWN_KEY, JSON.stringify(this.own));
    } catch {
      // a full or forbidden storage: the link then works until the page is closed
    }
  }

  /** Whether what is shown is what is chosen. */
  get isCurrent() {
    return this.shown === JSON.stringify(this.wanted());
  }

  say(text, isError = false) {
    byId("status").textContent = text;
    byId("status").classList.toggle("site-error", isError);
  }

  /** One line on what the analyses are of. */
  about() {
    const [first] = this.analyses;
    const names = this.analyses.map((one) => one.variant).join(", ");
    return `${first.length.toLocaleString("en")} tokens of ${first.text}, read by ${names}; trained on ${first.trained.toLocaleString("en")}.`;
  }
}

/** A short name of a text: enough to tell whether it is the one of a link. */
function digest(text) {
  let [low, high] = [0x811c9dc5, 0x9e3779b9];
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    low = Math.imul(low ^ code, 0x01000193);
    high = Math.imul(high ^ code, 0x85ebca6b) ^ (high >>> 13);
  }
  return [low, high].map((part) => (part >>> 0).toString(16).padStart(8, "0")).join("");
}
