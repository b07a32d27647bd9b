// The colour scheme: the system's until the visitor chooses; kept in a cookie so that the server can
// render it without a flash of the other one.
import { choose } from "./cookie.js";
import { t } from "./words.js";

const next = { "": "light", light: "dark", dark: "" };
const words = { "": t("System colours"), light: t("Light colours"), dark: t("Dark colours") };
const icons = { "": "monitor", light: "sun", dark: "moon" };

function show(button, theme) {
  const use = button.querySelector("use");
  use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${icons[theme]}`));
  button.querySelector(".visually-hidden").textContent = `${words[theme]}. ${t("Change colour scheme")}`;
  button.title = words[theme];
}

export function startTheme() {
  const button = document.querySelector("[data-theme-toggle]");
  if (!button) return;
  const root = document.documentElement;
  show(button, root.dataset.theme ?? "");
  button.hidden = false;
  button.addEventListener("click", () => {
    const theme = next[root.dataset.theme ?? ""];
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    choose("theme", theme);
    show(button, theme);
  });
}
