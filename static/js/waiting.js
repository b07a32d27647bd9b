// The tab says how many transactions are under way: those that this page follows, or those that the header counts.
let followed = 0;

export function count(number = followed) {
  followed = number;
  const shown = Math.max(followed, Number(document.getElementById('waiting')?.dataset.count ?? 0));
  document.title = (shown ? `(${shown}) ` : '') + document.title.replace(/^\(\d+\) /, '');
}

document.addEventListener('htmx:afterSettle', () => count());
count();
