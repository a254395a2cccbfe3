// The page's address: `#cell?text=…&unit=7` holds the part that is shown, and its text and settings.

export function readAddress() {
  const [part, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  return { part, settings: new URLSearchParams(query) };
}

export function addressOf(part, settings) {
  const query = new URLSearchParams(settings).toString();
  return `#${part}${query ? `?${query}` : ""}`;
}

/** Without an entry in the browser's history for each letter typed. */
export function writeAddress(part, settings) {
  const address = addressOf(part, settings);
  if (location.hash !== address) history.replaceState(null, "", address);
}

/** A number of a link, or the one that stands where it is none or out of bounds. */
export function number(settings, name, fallback, least = -Infinity, most = Infinity) {
  const value = Number(settings.get(name) ?? NaN);
  return Number.isFinite(value) && value >= least && value <= most ? value : fallback;
}
