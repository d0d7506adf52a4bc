// Shows the node as it stands: fetches this page again and puts its parts in place.
const times = () => document.querySelectorAll("time").forEach((t) => {
  const at = new Date(Number(t.dateTime));
  t.textContent = at.toLocaleTimeString([], { hour12: false });
  t.title = at.toLocaleString();
});
const look = async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(3000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of ["main", "header", ".away"]) {
      const old = document.querySelector(part);
      const now = fresh.querySelector(part);
      if (old && now) old.replaceWith(now);
    }
    document.body.classList.remove("lost");
    times();
  } catch {
    document.body.classList.add("lost");
  }
};
times();
setInterval(look, 2000);
document.addEventListener("visibilitychange", look);
