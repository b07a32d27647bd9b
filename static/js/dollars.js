// Amounts in US dollars, off and on again: a cookie, which the server reads when it makes the page.
export function startDollars() {
  const button = document.querySelector("[data-dollars]");
  if (!button) return; // this site has no source of the price
  button.hidden = false;
  button.addEventListener("click", () => {
    const { dollars } = button.dataset;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `dollars=${dollars}; Path=/; SameSite=Lax; Max-Age=${dollars ? 31536000 : 0}${secure}`;
    location.reload();
  });
}
