// The form of a new rule says what the chosen kind means and takes; without scripts the one long hint is about all of them.
const kind = document.getElementById('rule-kind');
const means = document.getElementById('rule-kind-note');
const takes = document.getElementById('rule-number-note');

function show() {
  const { hint, number } = kind.selectedOptions[0].dataset;
  means.textContent = hint;
  means.hidden = false;
  takes.textContent = number;
  takes.closest('.field').hidden = !number; // not emptied: who comes back to the kind finds what was typed
}

show();
kind.addEventListener('change', show);
window.addEventListener('pageshow', show); // also where the browser gives back what was chosen before
