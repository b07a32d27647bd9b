// A star is a form that works without script; with it the page stays where it is.
import { announce, warn } from "./toast.js";
import { t } from "./words.js";

export function startWatch() {
  document.addEventListener("submit", async (event) => {
    const star = event.submitter;
    if (!event.target.matches("[data-watch]") || !star) return;
    event.preventDefault();
    if (star.getAttribute("aria-busy")) return;
    star.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(event.target.action, {
        method: "POST",
        body: new FormData(event.target, star),
        headers: { Accept: "application/json" },
      }).catch(() => null);
      if (!answer?.ok) throw new Error((await answer?.json().catch(() => null))?.detail);
      const on = star.name === "watch";
      star.name = on ? "unwatch" : "watch";
      star.setAttribute("aria-pressed", String(on));
      announce(on ? t("Watched") : t("No longer watched"));
    } catch (error) {
      const text = error.message || t("This could not be saved. Try again in a moment.");
      warn(text);
    }
    star.removeAttribute("aria-busy");
  });
}
