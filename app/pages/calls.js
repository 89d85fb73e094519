// Calls to the server: one object in, one object out, a failure as an error with its sentence.

const FUNCTIONS = "gradio_api/component_server/";
/** Of this page, as Gradio tells pages apart. */
const session = Math.random().toString(36).slice(2);

/** An analysis that the server no longer keeps. */
class GoneError extends Error {}

async function call(name, given = {}) {
  const answer = await post(`ask_${name}`, given);
  if (!answer) throw new Error("the server did not answer; is it still running?");
  if (answer.gone) throw new GoneError("the server no longer keeps this analysis");
  if (answer.error) throw new Error(answer.error);
  return answer;
}

/** What a function of the server answers; null where none came. */
async function post(name, data) {
  const body = { fn_name: name, data, component_id: Number(document.documentElement.dataset.component), session_hash: session };
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(FUNCTIONS, { method: "POST", headers, body: JSON.stringify(body) }).catch(() => null);
  if (answer?.status === 401) throw new Error("the login has ended; load the page anew to log in");
  return answer?.ok ? answer.json().catch(() => null) : null;
}

const asked = new Map();

/** What a call without changing arguments answered, asked once. */
function once(name, given = {}) {
  const key = `${name} ${JSON.stringify(given)}`;
  const known = asked.get(key) ?? call(name, given).catch((error) => {
    asked.delete(key);
    throw error;
  });
  asked.set(key, known);
  return known;
}

let library = null;

/** Loads the chart library. */
function loadPlotly() {
  library ??= call("plotly").then(({ script }) => {
    document.head.append(make("script", {}, script));
  }).catch((error) => {
    library = null;
    throw error;
  });
  return library;
}

/** Bytes of base64. */
function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  // `Uint8Array.from` with a function takes twenty times as long: 24 ms for a region
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/** Runs a task for the newest wish only, one at a time; older wishes are dropped. */
function newest(task) {
  let wish = null;
  let running = null;
  const work = async () => {
    try {
      while (wish) {
        const given = wish;
        wish = null;
        await task(...given);
      }
    } finally {
      running = null;
    }
  };
  return (...given) => {
    wish = given;
    running ??= work();
    return running;
  };
}
