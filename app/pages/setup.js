// What is looked into: models, a text, a length. The same for the tabs that look inside.

/** Milliseconds after which the time that is left is told. */
const FIRST_GUESS = 4000;
const BYTES_OF_CHARACTER = 4;
const OWN = "own";
const DIGEST = /^[0-9a-f]{64}$/;
const OWN_KEY = "freeatten-own-text";
const FOREIGN = "This link is of a text that only the browser has in which it was pasted. Paste it here, or choose another text.";

class Setup {
  /**
   * `changed` is called when analyses are there, `submit` when the form is sent, `gaveUp` when what
   * was asked for does not come.
   */
  constructor(choices, { changed, submit, gaveUp }) {
    Object.assign(this, { choices, changed, submit, gaveUp });
    this.analyses = [];
    this.done = new Map();
    this.asked = new Asked();
    this.working = Promise.resolve();
    this.running = null;
    /** What the analyses are of, and what is asked for: the same unless a job is on its way. */
    this.shown = new URLSearchParams();
    this.current = new URLSearchParams();
    /** What the comparison that is shown is of. */
    this.scored = "";
    this.isScoring = false;
    /** Parts of the last link that could not be followed. @type {string[]} */
    this.unmet = [];
    this.foreseen = new Foreseen(() => (this.isScoring ? [] : this.unread()));
    this.build();
    this.own = this.storedOwn();
  }

  build() {
    byId("models").append(...this.choices.models.map(({ id, label, first }) => tick(id, label, first)));
    const anywhere = this.choices.folders ? ["folder", "owner/name"] : [];
    byId("other").placeholder = [...this.choices.suggestions.slice(0, 1), ...anywhere].join(", ");
    byId("suggestions").append(...this.choices.suggestions.map((value) => make("option", { value })));
    byId("modifiers").append(table({
      caption: "Written behind a checkpoint, as in softmax+yarn; several with commas.",
      header: ["what it changes at inference"],
      rows: this.choices.modifiers.map(([name, meaning]) => [`+${name}`, meaning]),
    }));
    const options = [...this.choices.texts, { id: OWN, label: "your own text" }];
    byId("text").append(...options.map(({ id, label }) => make("option", { value: id }, label)));
    for (const id of ["length", "longest"]) {
      byId(id).append(...this.choices.lengths.map((value) => make("option", { value }, value.toLocaleString("en"))));
      byId(id).value = this.choices[id];
    }
    byId("text").addEventListener("change", () => this.showOwn());
    byId("content").addEventListener("input", () => this.typed());
    byId("file").addEventListener("change", () => this.fileChosen());
    byId("save-text").textContent = `Save it as ${this.choices.pasted}`;
    byId("save-text").addEventListener("click", () => save(this.own.content.replaceAll("\r\n", "\n"), this.choices.pasted, "text/plain"));
    byId("cancel").addEventListener("click", () => this.cancel());
    byId("setup").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    for (const name of ["input", "change"]) byId("setup").addEventListener(name, () => this.mark());
    byId("setup").addEventListener("change", () => this.foreseen.tell());
    byId("undo").addEventListener("click", () => {
      this.restore(this.isScoring ? new URLSearchParams(this.scored) : this.shown);
    });
  }

  /** What is chosen, in a line. */
  line() {
    const known = new Map(this.choices.models.map(({ id, label }) => [id, label]));
    const models = this.models().map((id) => known.get(id) ?? id).join(" vs ") || "no model";
    const isOwn = byId("text").value === OWN;
    const label = isOwn ? this.own.name || "pasted text" : byId("text").selectedOptions[0]?.textContent;
    const isShown = this.analyses.length > 0 && this.state().toString() === this.shown.toString();
    const length = byId(this.isScoring ? "longest" : "length").selectedOptions[0]?.textContent;
    return [models, isShown && !this.isScoring ? this.analyses[0].text : label,
      `${this.isScoring ? "up to " : ""}${isShown && !this.isScoring ? this.analyses[0].length.toLocaleString("en") : length} tokens`].join(" · ");
  }

  /** Folds the form to its line, or opens it. @param {boolean} isOpen */
  fold(isOpen) {
    if (!isOpen && byId("fold").contains(document.activeElement)) byId("edit").focus();
    byId("fold").open = isOpen;
  }

  /** Dims what is shown while the form says something else, and says so. */
  mark() {
    byId("line").textContent = this.line();
    const shown = this.isScoring ? this.scored : this.shown.toString();
    const chosen = (this.isScoring ? this.comparisonState() : this.state()).toString();
    const isOld = !byId("setup").hidden && Boolean(shown) && chosen !== shown;
    byId("stale").hidden = !isOld;
    document.querySelector(".site-page").classList.toggle("site-stale", isOld);
    if (!isOld) return;
    const doing = byId("look").disabled ? "is on its way" : `needs “${byId("look").textContent}”`;
    byId("stale-text").textContent = `Still shown: ${this.isScoring ? byId("provenance").textContent : this.about()} What is chosen above ${doing}.`;
    byId("undo").hidden = byId("look").disabled;
  }

  /** The fields and the button for scoring a text, or for looking inside. */
  setFor(isScoring) {
    if (isScoring !== this.isScoring) this.fold(isScoring);
    this.isScoring = isScoring;
    byId("length").parentElement.hidden = isScoring;
    byId("longest").parentElement.hidden = !isScoring;
    byId("look").textContent = isScoring ? "Score the text" : "Look inside";
    if (!byId("look").disabled) this.say("");
    this.mark();
  }

  askForText() {
    byId("text").value = OWN;
    this.fold(true);
    this.showOwn();
    byId("setup").scrollIntoView({ block: "nearest" });
    byId("content").focus();
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
    byId("pasted").hidden = Boolean(this.own.name) || !this.own.content.trim();
  }

  typed() {
    this.take("", byId("content").value);
  }

  /** Takes a text, or as much of it as is looked at, and says so. */
  take(name, whole, isPart = false) {
    const most = this.choices.characters;
    this.own = { name: name.slice(0, 200), content: whole.slice(0, most).replace(/[\ud800-\udbff]$/, "") };
    this.showOwn();
    const isCut = isPart || whole.length > most;
    if (isCut) this.say(`${name || "The text"} is longer: its first ${most.toLocaleString("en")} characters are taken.`);
    else if (name) this.say("");
  }

  async fileChosen() {
    const [file] = byId("file").files;
    if (!file) return;
    try {
      const bytes = await file.slice(0, BYTES_OF_CHARACTER * this.choices.characters).arrayBuffer();
      const isPart = bytes.byteLength < file.size; // it may end within a character
      const whole = new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: isPart });
      if (whole.includes("\0")) throw new TypeError();
      this.take(file.name, whole, isPart);
      this.mark();
    } catch (error) {
      const binary = error instanceof TypeError;
      this.say(binary ? `${file.name} is not UTF-8 text` : error.message, true);
    }
    byId("file").value = "";
  }

  // The state, in the page and in the link

  models() {
    const ticked = [...document.querySelectorAll("[name=model]:checked")].map((box) => box.value);
    return [...new Set([...ticked, ...this.others()])];
  }

  /** What is written beside the boxes. */
  others() {
    return byId("other").value.split(",").map((one) => one.trim()).filter(Boolean);
  }

  /** What was written, and works, becomes boxes of its own. */
  adopt() {
    const boxes = [...document.querySelectorAll("[name=model]")].map((box) => box.value);
    const found = this.others();
    byId("models").append(...found.filter((one) => !boxes.includes(one)).map((one) => tick(one, one, true)));
    for (const box of document.querySelectorAll("[name=model]")) box.checked ||= found.includes(box.value);
    byId("other").value = "";
  }

  state() {
    const parts = new URLSearchParams({ models: this.models().sort().join(",") });
    parts.set("text", byId("text").value);
    parts.set("len", byId("length").value);
    parts.set("seed", byId("seed").value);
    if (byId("text").value === OWN) parts.set("digest", digest(this.own.content));
    if (this.foreseen.layers !== null && this.unread().length) parts.set("layers", this.foreseen.layers);
    return parts;
  }

  /** Shows what a link says; false when it is of a text that this browser does not have. */
  restore(parts) {
    this.unmet = [];
    if (parts.has("models")) this.restoreModels(parts.get("models").split(",").filter(Boolean));
    if (DIGEST.test(parts.get("text") ?? "")) this.offerFound(parts.get("text"));
    for (const [id, name] of [["text", "text"], ["length", "len"], ["longest", "longest"]]) {
      const value = parts.get(name);
      if ([...byId(id).options].some((option) => option.value === value)) byId(id).value = value;
      else if (value !== null) this.unmet.push(`${name}=${value}`);
    }
    this.foreseen.choose(parts.get("layers"));
    if (/^\d{1,7}$/.test(parts.get("seed") ?? "")) byId("seed").value = parts.get("seed");
    else if (parts.has("seed")) this.unmet.push(`seed=${parts.get("seed")}`);
    const kept = this.storedOwn();
    if (parts.has("digest") && digest(kept.content) === parts.get("digest")) this.own = kept;
    this.showOwn();
    this.mark();
    if (byId("text").value !== OWN) return true;
    return !parts.has("digest") || parts.get("digest") === digest(this.own.content);
  }

  /** Says which parts of a link were not followed, once. */
  tellUnmet() {
    if (!this.unmet.length) return;
    this.say(`The link asks for ${this.unmet.join(", ")}, which cannot be had here; shown is ${this.line()}.`);
    this.unmet = [];
  }

  /** A text that is named by its digest, as a result names it. */
  offerFound(wanted) {
    if ([...byId("text").options].some(({ value }) => value === wanted)) return;
    const option = make("option", { value: wanted }, `the text ${wanted.slice(0, 12)}…`);
    byId("text").append(option);
    once("text_by_digest", { digest: wanted }).then(({ name }) => { option.textContent = name; this.mark(); }, () => {});
  }

  restoreModels(wanted) {
    const boxes = [...document.querySelectorAll("[name=model]")];
    for (const box of boxes) box.checked = wanted.includes(box.value);
    const known = boxes.map((box) => box.value);
    byId("other").value = wanted.filter((one) => !known.includes(one)).join(", ");
  }

  // Analyses

  /** The models and the text that are chosen. */
  chosen() {
    const models = this.models();
    const kind = byId("text").value;
    const own = kind === OWN ? this.own : { name: "", content: "" };
    const text = DIGEST.test(kind) ? { kind: "found", name: kind, content: "" } : { kind, name: own.name, content: own.content };
    return { models, text, seed: Number(byId("seed").value) };
  }

  check() {
    const { length } = this.models();
    if (!length) throw new Error("choose at least one model");
    if (length > this.choices.most) throw new Error(`choose at most ${this.choices.most} models`);
  }

  /** What is asked of the server, model by model. */
  wanted() {
    const { models, text, seed } = this.chosen();
    const length = Number(byId("length").value);
    const layers = (checkpoint) => (this.isShipped(checkpoint) ? null : this.foreseen.layers);
    return models.map((checkpoint) => ({ checkpoint, text, length, seed, layers: layers(checkpoint) }));
  }

  /** Whether a model is known before it is asked for; of any other it is told what it takes. */
  isShipped(checkpoint) {
    return this.choices.models.some(({ id, asks }) => !asks && `${checkpoint}+`.startsWith(`${id}+`));
  }

  /** The chosen models of which it is told what they take. */
  unread() {
    const length = Number(byId("length").value);
    return this.models().filter((one) => !this.isShipped(one)).map((checkpoint) => ({ checkpoint, length, layers: this.foreseen.layers }));
  }

  /** Has another layer of the models of others read. */
  readLayer(layer) {
    this.restore(this.shown);
    this.foreseen.choose(String(layer));
    this.mark();
    this.submit();
  }

  /** What a comparison is asked with. */
  comparison() {
    const { models: checkpoints, text, seed } = this.chosen();
    return { checkpoints, text, longest: Number(byId("longest").value), seed };
  }

  comparisonState() {
    const parts = this.state();
    parts.delete("len");
    parts.set("longest", byId("longest").value);
    return parts;
  }

  /** Does what the form asks for, after what it is doing already, and tells how it ends. */
  work(task) {
    this.working = this.working.then(() => this.worked(task));
    return this.working;
  }

  async worked(task) {
    byId("look").disabled = true;
    byId("cancel").disabled = false;
    Object.assign(this, { began: null, asked: new Asked() });
    this.say("");
    this.mark();
    try {
      this.check();
      await task();
      this.tellUnmet();
      this.adopt();
      this.fold(this.isScoring);
    } catch (error) {
      const isCancelled = error instanceof CancelledError;
      if (!isCancelled) this.fold(true);
      this.say(isCancelled ? "Cancelled." : error.message, !isCancelled);
    } finally {
      byId("look").disabled = false;
      for (const id of ["progress", "cancel"]) byId(id).hidden = true;
      this.mark();
    }
  }

  /**
   * Waits for a job, the `at`-th of `count`, and shows how far all of them are; `said` is what it
   * does.
   */
  waited(start, wanted, said, at = 0, count = 1) {
    for (const id of ["progress", "cancel"]) byId(id).hidden = false;
    const { asked } = this;
    return asked.until(finished(start, wanted, ({ state, share }) => {
      if (asked.isCancelled) return;
      if (state === "running") this.began ??= performance.now();
      const done = (at + share) / count;
      byId("progress").value = done;
      const waits = state === "waiting" ? ": waiting for other analyses" : "";
      this.say(`${said}${waits}${timeLeft(this.began, done)}`);
    }, (job) => asked.began(job)));
  }

  /** Analyses what is chosen; what is on its way for another choice is given up. */
  run() {
    const [wanted, state] = [this.wanted(), this.state()];
    if (this.running && state.toString() === this.current.toString()) return this.running;
    if (this.running) this.cancel();
    this.current = state;
    if (wanted[0]?.text.kind === OWN) this.keepOwn();
    const run = this.work(() => this.analyse(wanted, state)).finally(() => {
      if (this.running !== run) return; // another choice is on its way
      this.running = null;
      if (this.isShown || !this.analyses.length) return;
      this.current = this.shown;
      this.gaveUp();
    });
    this.running = run;
    return run;
  }

  async analyse(wanted, state) {
    const found = [];
    const todo = wanted.filter((one) => !this.done.has(JSON.stringify(one)));
    for (const { checkpoint, length, layers } of todo.filter((one) => !this.isShipped(one.checkpoint))) {
      const said = `Asking what ${checkpoint} takes`;
      await this.foreseen.check({ checkpoint, length, layers }, (asked) => this.waited("start_forecast", asked, said));
    }
    this.foreseen.tell();
    for (const one of wanted) found.push(await this.analysed(one, todo.indexOf(one), todo.length));
    if (new Set(found.map((one) => one.tokenizer)).size > 1) {
      throw new Error("these checkpoints cut the text into different tokens; look at them one at a time");
    }
    const isNew = found.length !== this.analyses.length || found.some((one, at) => one !== this.analyses[at]);
    if (isNew) this.analyses = found;
    this.shown = state;
    this.mark();
    await this.changed();
  }

  async analysed(wanted, at, count) {
    const key = JSON.stringify(wanted);
    const known = this.done.get(key);
    if (known) return known;
    const said = `Reading with ${wanted.checkpoint} (${at + 1} of ${count})`;
    const told = await this.waited("start", wanted, said, at, count);
    this.say("");
    const made = new Analysis(wanted, told);
    this.done.set(key, made);
    if (this.done.size > 32) this.done.delete(this.done.keys().next().value);
    return made;
  }

  cancel() {
    byId("cancel").disabled = true;
    this.say("Cancelling…");
    this.asked.cancel();
  }

  keepOwn() {
    try {
      sessionStorage.setItem(OWN_KEY, JSON.stringify(this.own));
    } catch {
      // a full or forbidden storage: the link then works until the page is closed
    }
  }

  /** Whether what is shown is what was asked for. */
  get isShown() {
    return this.analyses.length > 0 && this.shown.toString() === this.current.toString();
  }

  /** Whether a link is of what was asked for last; the form may say something newer. */
  isAsked(parts) {
    const state = new URLSearchParams([...parts].filter(([name]) => this.current.has(name) || name === "layers"));
    return this.current.size > 0 && state.toString() === this.current.toString();
  }

  say(text, isError = false) {
    byId("status").textContent = text;
    byId("status").classList.toggle("site-error", isError);
  }

  /** One line on what the analyses are of. */
  about() {
    const [first] = this.analyses;
    const names = this.analyses.map((one) => one.variant).join(", ");
    return `${first.length.toLocaleString("en")} tokens of ${first.text}, read by ${names}; ${lengthOf(first)}.`;
  }
}

/** What is known of the length that a model is made for. */
function lengthOf({ trained, declared }) {
  if (trained) return `trained on ${trained.toLocaleString("en")}`;
  return declared ? `declared for ${declared.toLocaleString("en")}` : "which declares no length";
}

/** `, about 3 min left` of all that was begun then, once that can be told. */
function timeLeft(began, share) {
  const passed = began === null ? 0 : performance.now() - began;
  if (passed < FIRST_GUESS || share < 0.02 || share === 1) return "";
  const seconds = (passed / share) * (1 - share) / 1000;
  return seconds < 90 ? `, about ${Math.ceil(seconds)} s left` : `, about ${Math.ceil(seconds / 60)} min left`;
}

/** A box that chooses a model. */
function tick(value, label, isChecked) {
  const box = make("input", { type: "checkbox", name: "model", value });
  box.checked = isChecked;
  return make("label", {}, box, ` ${label}`);
}
