// New results in the tab Compare: chosen models on any text, scored by a job of the server.

const ASK_FOR_TEXT = {
  title: "Which attention breaks on your text?",
  answer: "Choose models, paste a text or choose a file, and score it: the same tokens at the training length (models of others: at 512), at twice that, and so on as far as the text goes.",
};

class Scoring {
  /** `present` shows what is made, `remember` keeps a state for a link. */
  constructor(setup, present, remember) {
    Object.assign(this, { setup, present, remember });
    this.found = null;
    this.state = "";
  }

  /** Shows what a link says: a result that the server still has, or one made anew. */
  async show(parts) {
    try {
      const state = withoutResult(parts).toString();
      if (this.found && (!state || state === this.state)) this.again();
      else if (parts.has("models")) await this.restore(parts);
      else this.begin();
    } catch (error) {
      this.setup.say(error.message, true);
    }
  }

  begin() {
    this.present(ASK_FOR_TEXT);
    this.setup.askForText();
  }

  again() {
    this.present(this.found, this.found.main);
    this.remember(new URLSearchParams(this.state), false);
    this.setup.mark();
  }

  async restore(parts) {
    const isHere = this.setup.restore(parts);
    if (parts.has("made") && await this.fetched(parts.get("made"))) {
      this.keep(withoutResult(parts), this.setup.comparisonState());
      return;
    }
    this.present(ASK_FOR_TEXT);
    if (isHere) await this.run();
    else this.setup.say(FOREIGN, true);
  }

  /** Scores what is chosen. */
  run() {
    const wanted = this.setup.comparison();
    const state = this.setup.comparisonState();
    if (wanted.text.kind === OWN) this.setup.keepOwn();
    this.remember(state);
    return this.setup.work(async () => {
      const { id } = await this.setup.waited("start_comparison", wanted, "Scoring the text");
      this.setup.say("");
      if (!await this.fetched(id)) throw new GoneError("the result was dropped at once; try again");
      this.keep(new URLSearchParams([...state, ["made", id]]), state);
    });
  }

  /** Shows a result of the server; false when it no longer has it. */
  async fetched(id) {
    const found = await call("made_comparison", { id }).catch((error) => {
      if (error instanceof GoneError) return null;
      throw error;
    });
    if (!found) return false;
    this.found = found;
    if (byId("result").value === OWN_RESULT) this.present(found, found.main);
    return true;
  }

  /** `request` is what the form says when it asks for this. */
  keep(state, request) {
    this.state = state.toString();
    this.setup.scored = request.toString();
    this.remember(state, false);
    this.setup.mark();
  }
}

function withoutResult(parts) {
  return new URLSearchParams([...parts].filter(([name]) => name !== "result"));
}
