// A choice of this browser that the server reads when it makes a page; an empty one is forgotten.
const YEAR = 31536000;

export function choose(name, value) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${value}; Path=/; SameSite=Lax; Max-Age=${value ? YEAR : 0}${secure}`;
}
