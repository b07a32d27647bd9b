// Reading a chart value by value: left, right, Home and End move a cursor, and an <output> says what stands there.
export function startReading(plot, output, rows, show) {
  let at = -1;
  const move = (index, spoken = true) => {
    const next = Math.max(0, Math.min(rows.length - 1, index));
    if (next === at) return;
    at = next;
    // Only steps that somebody takes with the keyboard are spoken; a pointer would flood the listener.
    output.setAttribute("aria-live", spoken ? "polite" : "off");
    output.textContent = rows[at].said;
    show(at);
  };
  plot.tabIndex = 0;
  plot.addEventListener("keydown", (event) => {
    const from = at < 0 ? rows.length : at;
    const target = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (target === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move(target);
  });
  return move;
}
