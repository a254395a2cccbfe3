// Which word of a text a model's token stands in.

/** The words of a text, parted by white space: `[{text, end}]`. */
export function words(text) {
  return [...text.matchAll(/\S+/gu)].map((found) => ({ text: found[0], start: found.index, end: found.index + found[0].length }));
}

function plain(text) {
  const lower = text.replace(/./gsu, (char) => {
    const small = char.toLowerCase();
    return small.length === char.length ? small : char;
  });
  return lower.replace(/[’‘`´]/g, "'");
}

/**
 * For each token the place of its word among `listed`. Tokens are looked for one behind the other, in lower case and
 * with plain apostrophes, as the model reads them; one that is not found counts to the word before it.
 */
export function wordOfToken(text, listed, tokens) {
  const sought = plain(text);
  let from = 0;
  let word = 0;
  return tokens.map((token) => {
    let at = sought.indexOf(token, from);
    let length = token.length;
    if (token === "…") {
      const dots = /…|\.\.+/gu;
      dots.lastIndex = from;
      const found = dots.exec(sought);
      at = found?.index ?? -1;
      length = found?.[0].length ?? 0;
    }
    if (at >= 0) {
      while (word < listed.length - 1 && listed[word].end <= at) word += 1;
      from = at + length;
    }
    return word;
  });
}
