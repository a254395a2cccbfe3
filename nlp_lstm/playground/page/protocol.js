// TensorFlow Serving's REST protocol, as far as the page needs it: predict by columns, metadata, and the state of a model.

const MODELS = new URL("v1/models/", document.baseURI);

/** Why there is no answer: `status` is HTTP's, or 0 where there was no server. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** JSON, and the numbers that are none, which JSON has no word for: they become null. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return JSON.parse(text.replace(/("(?:[^"\\]|\\.)*")|\bNaN\b|-?\bInfinity\b/g, (_, string) => string ?? "null"));
  }
}

async function asked(path, options, signal) {
  let response;
  try {
    // "./", since "sentiment:predict" alone would be a URL whose scheme is "sentiment"
    response = await fetch(new URL(`./${path}`, MODELS), { ...options, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "the server does not answer: is it still running?");
  }
  const text = await response.text();
  if (response.ok) return parsed(text);
  let told = text.slice(0, 300);
  try {
    told = JSON.parse(text).error ?? told;
  } catch {
    // not the protocol's form: what came is told as it is
  }
  throw new Refusal(response.status, told || `HTTP ${response.status}`);
}

/** The outputs of a signature, by name; `inputs` are columns. */
export async function predict(model, signature, inputs, signal) {
  const body = JSON.stringify({ signature_name: signature, inputs });
  const answer = await asked(
    `${model}:predict`,
    { method: "POST", body, headers: { "content-type": "application/json" } },
    signal,
  );
  return answer.outputs;
}

const known = new Map();

/** The signatures of a model: by name, `{inputs: {name: shape}, outputs: [name]}`. */
export async function signatures(model, signal) {
  if (!known.has(model)) {
    const answer = await asked(`${model}/metadata`, {}, signal);
    const found = {};
    for (const [name, one] of Object.entries(answer.metadata.signature_def.signature_def)) {
      const shapes = Object.entries(one.inputs ?? {}).map(([input, info]) => [
        input,
        (info.tensor_shape.dim ?? []).map((dim) => Number(dim.size)),
      ]);
      found[name] = { inputs: Object.fromEntries(shapes), outputs: Object.keys(one.outputs ?? {}) };
    }
    known.set(model, found);
  }
  return known.get(model);
}

/** Whether a model is on its way: TensorFlow Serving refuses requests to it by 404 until it is there. */
async function isLoading(model, error, signal) {
  if (error.status === 503) return true;
  if (error.status !== 404) return false;
  try {
    const { model_version_status: versions } = await asked(model, {}, signal);
    return versions.some((one) => one.state === "START" || one.state === "LOADING");
  } catch (other) {
    if (other.name === "AbortError") throw other;
    return false;
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("a newer request came", "AbortError"));
    });
  });
}

/**
 * One thing that is asked for again and again. Only the newest request counts: those before it are given up, and their
 * answers dropped. While a model loads, it is asked again; `tell` is given what to show in words.
 */
export class Latest {
  constructor(model, tell) {
    this.model = model;
    this.tell = tell;
    this.current = null;
  }

  stop() {
    this.current?.abort();
    this.current = null;
  }

  /**
   * Do `work(signal)` and hand its result to `show`: at once, or, where an older answer is still outstanding, after
   * `wait` milliseconds without a newer request. So a key alone waits for nothing, and fast typing sends little.
   */
  async run(work, show, wait = 0) {
    const isFirst = this.current === null;
    this.stop();
    const mine = new AbortController();
    this.current = mine;
    const { signal } = mine;
    try {
      if (wait && !isFirst) await pause(wait, signal);
      for (;;) {
        try {
          const result = await work(signal);
          if (this.current !== mine) return;
          this.tell("", "");
          show(result);
          return;
        } catch (error) {
          if (!(error instanceof Refusal) || !(await isLoading(this.model, error, signal))) throw error;
          if (this.current !== mine) return;
          this.tell("waiting", `The model is being loaded, or the server is busy: asking again … (${error.message})`);
          await pause(1000, signal);
        }
      }
    } catch (error) {
      if (error.name === "AbortError" || this.current !== mine) return;
      if (!(error instanceof Refusal)) console.error(error);
      this.tell("error", `No answer: ${error.message}`);
    } finally {
      if (this.current === mine) this.current = null;
    }
  }
}

/** Bytes that came as base64. */
export function unpacked(value) {
  return Uint8Array.from(atob(value.b64), (char) => char.charCodeAt(0));
}
