// Jobs of the server, which a page that is loaded anew goes on with.

const POLL = 200;
const BEGUN_KEY = "freeatten-jobs";
const MOST_BEGUN = 32;
/** How often what is gone is made anew for one call: on a busy server others push it out again. */
const MOST_RENEWALS = 3;
/** Milliseconds after which the page lets go of a job that was cancelled, should it still run. */
const LET_GO = 1500;

/** An analysis that can be asked for again when the server has dropped it. */
class Analysis {
  constructor(wanted, told) {
    this.wanted = wanted;
    this.told(told);
  }

  told(answer) {
    Object.assign(this, answer);
  }

  /** A call about this analysis. */
  call(name, given = {}) {
    return renewing(() => call(name, { id: this.id, ...given }), () => this.renew());
  }

  /** What a job about this analysis answers. */
  work(start, tell = () => {}, began = () => {}) {
    return renewing(() => finished(start, { id: this.id }, tell, began), () => this.renew());
  }

  renew() {
    const said = (/** @type {string} */ text) => { byId("status").textContent = text; };
    const { checkpoint } = this.wanted;
    this.renewing ??= finished("start", this.wanted, ({ share }) => {
      said(`Reading with ${checkpoint} again, which the server no longer has: ${Math.round(100 * share)} %`);
    }).then((told) => this.told(told)).finally(() => { this.renewing = null; said(""); });
    return this.renewing;
  }
}

/** What is asked about analyses, which are made anew first when they are gone. */
async function renewing(ask, renew) {
  for (let left = MOST_RENEWALS; ; left -= 1) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof GoneError) || left === 0) throw error;
      await renew();
    }
  }
}

class CancelledError extends Error {}

/** What was asked for once, in one job or several, and is given up as one. */
class Asked {
  constructor() {
    this.jobs = [];
    this.isCancelled = false;
    this.given = new Promise((_, reject) => { this.letGo = () => reject(new CancelledError("cancelled")); });
    this.given.catch(() => {}); // whoever waits hears of it
  }

  /** Notes a job that was begun for it. */
  began(job) {
    this.jobs.push(job);
    if (this.isCancelled) this.stop(job);
  }

  /** What is found, unless it is cancelled: then it is let go of, though a job ends with its next step. */
  async until(found) {
    const told = await Promise.race([this.given, found]);
    if (this.isCancelled) throw new CancelledError("cancelled");
    return told;
  }

  cancel() {
    this.isCancelled = true;
    setTimeout(this.letGo, LET_GO);
    for (const job of this.jobs) this.stop(job);
  }

  stop(job) {
    begun.forget(job);
    call("cancel", { job }).catch(() => {});
  }
}

/** The jobs that this browser tab began and that have not ended, by a digest of what was asked. */
const begun = {
  read() {
    try {
      return JSON.parse(sessionStorage.getItem(BEGUN_KEY)) ?? {};
    } catch {
      return {};
    }
  },

  write(jobs) {
    try {
      sessionStorage.setItem(BEGUN_KEY, JSON.stringify(jobs));
    } catch {
      // a full or forbidden storage: a page that is loaded anew then asks anew
    }
  },

  keep(key, job) {
    this.write(Object.fromEntries([...Object.entries(this.read()), [key, job]].slice(-MOST_BEGUN)));
  },

  forget(job) {
    this.write(Object.fromEntries(Object.entries(this.read()).filter(([, kept]) => kept !== job)));
  },

  /** The job of a request, where the server still has it. */
  async find(key) {
    const job = this.read()[key];
    if (!job) return null;
    const told = await call("progress", { job }).catch((error) => {
      if (error instanceof GoneError) return null;
      throw error;
    });
    return told ? job : null;
  },
};

/** Starts a job of the server, or finds the one that is on its way, and waits for it. */
async function finished(start, wanted, tell, began = () => {}) {
  const key = digest(JSON.stringify([start, wanted]));
  const job = await begun.find(key) ?? (await call(start, wanted)).job;
  begun.keep(key, job);
  began(job);
  for (;;) {
    const told = await call("progress", { job });
    tell(told);
    if (!["waiting", "running"].includes(told.state)) begun.forget(job);
    if (told.state === "done") return told;
    if (told.state === "failed") throw new Error(told.error);
    if (told.state === "cancelled") throw new CancelledError("cancelled");
    await new Promise((resolve) => { setTimeout(resolve, POLL); });
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
