// The footer asks every ten seconds how old the page's facts are. While nobody answers it says since when; two questions
// without an answer are worth a banner.
import { left } from "./countdown.js";
import { heed } from "./toast.js";
import { t } from "./words.js";

const FAILURES = 2;
let heard = Date.now();
let failures = 0;

// The line as the server wrote it last: it names the block that the page is of.
let said = "";

function show() {
  for (const banner of document.querySelectorAll("[data-no-answer]")) banner.hidden = failures < FAILURES;
  heed();
  const line = document.getElementById("freshness");
  if (!failures || !line) return;
  if (line.dataset.state !== "unanswered") said = line.textContent;
  line.dataset.state = "unanswered";
  const since = left(Math.round((Date.now() - heard) / 1000));
  line.textContent = `${said} · ${t("not refreshed for {since}", { since })}`;
}

export function startFreshness() {
  // The banner comes along. One that says the same stays: the focus may be in it.
  document.body.addEventListener("htmx:oobBeforeSwap", (event) => {
    if (event.target.id === "global-banner" && event.target.innerHTML === event.detail.fragment.innerHTML) event.preventDefault();
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    // Not detail.elt: an answer has replaced the line by then, and the event is its parent's.
    const { requestConfig, successful, xhr } = event.detail;
    if (requestConfig?.elt?.id !== "freshness") return;
    if (successful) {
      heard = Date.now();
      import("./ages.js").then(({ grow }) => grow(Date.parse(xhr.getResponseHeader("Date"))), () => {});
    }
    failures = successful ? 0 : failures + 1;
    show();
  });
}
