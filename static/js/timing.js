export const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

// A button is off while its work runs, and gets back the focus that it lost by that, unless the work has moved it.
export async function pressed(button, work) {
  button.disabled = true;
  button.setAttribute('aria-busy', 'true');
  try { return await work(); } finally {
    button.disabled = false;
    button.removeAttribute('aria-busy');
    if (document.activeElement === document.body) button.focus();
  }
}

// One after the other: while `work` runs, asking for it again lets it run once more afterwards, so that what an earlier
// question brings never takes the place of what a later one brought.
export function oneAtATime(work) {
  let running = null;
  let again = false;
  return () => {
    again = true;
    running ??= (async () => {
      try {
        while (again) {
          again = false;
          await work();
        }
      } finally { running = null; }
    })();
    return running;
  };
}
