// Amounts in US dollars, off and on again: a cookie, which the server reads when it makes the page. Only where a source of the price is.
import { choose } from "./cookie.js";

const button = document.querySelector("[data-dollars]");
button.hidden = false;
button.addEventListener("click", () => {
  choose("dollars", button.dataset.dollars);
  location.reload();
});
