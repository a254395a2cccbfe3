// The lines that ask the same from elsewhere: curl in a shell, and Python by `nlp_lstm.client`.

import { h } from "./elements.js";

function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A Python string. */
export function pythonQuoted(text) {
  // JSON's string is Python's, but that JSON leaves these two as they are, too.
  return JSON.stringify(text).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
}

export function curlLine(model, signature, inputs) {
  const body = JSON.stringify({ signature_name: signature, inputs });
  return `curl ${shellQuoted(new URL(`v1/models/${model}:predict`, document.baseURI).href)} -d ${shellQuoted(body)}`;
}

/** Three lines, so that the client is closed; `call` is a method of the client with its arguments. */
export function pythonLine(call) {
  const server = new URL(".", document.baseURI).href.replace(/\/$/, "");
  return `from nlp_lstm.client import Client\nwith Client(${pythonQuoted(server)}) as client:\n    print(client.${call})`;
}

async function copied(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // refused: then it is shown to be copied by hand
    }
  }
  return false;
}

/** Three buttons; `lines()` gives the curl line and the Python line of what is shown. */
export function copyButtons(lines) {
  const told = h("span", { class: "told", role: "status" });
  const shown = h("textarea", { class: "line-shown", readonly: true, rows: "4", "aria-label": "The line, to copy", hidden: true });
  const button = (label, text) =>
    h(
      "button",
      {
        type: "button",
        class: "quiet",
        onclick: async () => {
          const line = text();
          const done = await copied(line);
          told.textContent = done ? "Copied." : "Copy it from here:";
          shown.hidden = false;
          shown.value = line;
          if (!done) {
            shown.focus();
            shown.select();
          }
        },
      },
      label,
    );
  return h(
    "div",
    { class: "copy" },
    h("div", { class: "copy-row" },
      button("Copy curl", () => lines().curl),
      button("Copy Python", () => lines().python),
      button("Copy link", () => location.href),
      told),
    shown,
  );
}
