// Amounts in US dollars, off and on again: a cookie, which the server reads when it makes the page. Only where a source of the price is.
const button = document.querySelector("[data-dollars]");
button.hidden = false;
button.addEventListener("click", () => {
  const { dollars } = button.dataset;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `dollars=${dollars}; Path=/; SameSite=Lax; Max-Age=${dollars ? 31536000 : 0}${secure}`;
  location.reload();
});
