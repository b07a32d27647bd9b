// What is pressed before the modules have run waits for all of them, says so, and is done once. Forms that lead somewhere need none.
{
  let pressed;
  const hold = (event) => {
    const { target, submitter } = event;
    const button = submitter ? !target.matches("[action], [method]") && submitter : target.closest?.('[type="button"]');
    if (!button) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // a module that is here would do it, too
    pressed?.removeAttribute("aria-busy");
    pressed = button;
    button.setAttribute("aria-busy", true);
  };
  const types = ["click", "submit"];
  for (const type of types) document.addEventListener(type, hold, true);
  // After htmx, which begins at this event, too.
  document.addEventListener("DOMContentLoaded", () => setTimeout(() => {
    for (const type of types) document.removeEventListener(type, hold, true);
    pressed?.removeAttribute("aria-busy");
    pressed?.click();
  }));
}
