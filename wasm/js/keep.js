// What a page keeps: in the tab (sessionStorage) over a reload or a link, and in the fragment of
// the URL over a move to another node. The fragment never reaches a server or a log, and is erased
// as soon as it was read.

const FRAGMENT = "#tandem=";

function storeKey(project) {
  return `tandem/${project}`;
}

/** Reads what an earlier page of this tab kept: `{ saved, view }`, or null. */
export function readKept(project) {
  const handed = readFragment();
  if (handed) {
    // Written at once: a reload before the first bind goes on with the same hand-over token.
    writeKept(project, handed);
    return handed;
  }
  try {
    return JSON.parse(sessionStorage.getItem(storeKey(project)) ?? "null");
  } catch {
    return null;
  }
}

/** Keeps `{ saved, view }` in this tab. A browser without storage works until its next reload. */
export function writeKept(project, kept) {
  try {
    sessionStorage.setItem(storeKey(project), JSON.stringify(kept));
  } catch {
    // Storage is off or full.
  }
}

/** Forgets the tab's session. */
export function eraseKept(project) {
  try {
    sessionStorage.removeItem(storeKey(project));
  } catch {
    // Storage is off.
  }
}

/** The fragment that hands `{ saved, view }` to the page at another node. */
export function toFragment(kept) {
  const bytes = new TextEncoder().encode(JSON.stringify(kept));
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return FRAGMENT + btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function readFragment() {
  if (!location.hash.startsWith(FRAGMENT)) return null;
  const text = location.hash.slice(FRAGMENT.length);
  history.replaceState(history.state, "", location.pathname + location.search);
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
    return harmless(JSON.parse(new TextDecoder().decode(bytes)));
  } catch {
    return null;
  }
}

/** Anybody can write a link: what a fragment brings is shown and never done. A page leaves for
 *  another node once its writes are answered there, so an honest one brings none. */
function harmless(handed) {
  if (handed?.saved) {
    const open = handed.saved.open ?? [];
    handed.saved.open = open.filter(({ op }) => op === "props" || op === "page");
  }
  return handed;
}
