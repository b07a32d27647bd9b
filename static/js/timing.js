export const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

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
