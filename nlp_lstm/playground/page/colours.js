// Two scales of colour, each apart in lightness too, so that they can be told apart without hue.

const SEQUENTIAL = [
  [252, 248, 224],
  [214, 224, 160],
  [134, 191, 146],
  [61, 147, 147],
  [44, 99, 138],
  [44, 52, 110],
  [32, 18, 62],
];
// Blue below 0, orange above: the pair that every common kind of colour blindness keeps apart.
const BLUE = { light: [[233, 240, 247], [130, 174, 214], [46, 113, 175], [13, 60, 110]], dark: [[38, 50, 64], [40, 92, 145], [82, 152, 214], [178, 216, 250]] };
const ORANGE = { light: [[252, 240, 226], [245, 181, 110], [214, 115, 26], [128, 56, 4]], dark: [[62, 50, 38], [142, 80, 20], [226, 136, 52], [255, 214, 160]] };
const NEUTRAL = { light: [250, 249, 246], dark: [28, 30, 34] };

const darkness = window.matchMedia("(prefers-color-scheme: dark)");

export function isDark() {
  return darkness.matches;
}

export function onSchemeChange(listener) {
  darkness.addEventListener("change", listener);
}

function between(stops, share) {
  const place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const first = Math.min(Math.floor(place), stops.length - 2);
  return stops[first].map((from, channel) => Math.round(from + (place - first) * (stops[first + 1][channel] - from)));
}

/** Red, green and blue of 0 to 1. */
export function sequential(share) {
  return isDark() ? between([...SEQUENTIAL].reverse(), share) : between(SEQUENTIAL, share);
}

/** Red, green and blue of −1 to 1. */
export function diverging(share) {
  const scheme = isDark() ? "dark" : "light";
  const side = share < 0 ? BLUE : ORANGE;
  return between([NEUTRAL[scheme], ...side[scheme]], Math.abs(share));
}

export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

/** Black or white, whichever reads better on a colour: at 0.179 both have a contrast of 4.58 to 1. */
export function inkOn(colour) {
  const [red, green, blue] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}
