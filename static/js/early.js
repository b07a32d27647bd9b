// Modules run after the page is there, each once it has come: what is pressed before would do nothing. So it waits, says that it
// does, and is pressed once when all of them have run. No module itself: it must run before anything can be pressed.
{
  let pressed = null;
  let again = null;

  const hold = (event, button, act) => {
    event.preventDefault();
    event.stopImmediatePropagation(); // nor by a module that is here already: it would be done twice
    pressed?.removeAttribute("aria-busy");
    [pressed, again] = [button, act];
    pressed.setAttribute("aria-busy", "true");
  };
  const click = (event) => {
    const button = event.target.closest?.('button[type="button"]');
    if (button) hold(event, button, () => button.click());
  };
  // Forms that lead somewhere do so without a script.
  const submit = (event) => {
    const { target: form, submitter } = event;
    if (!form.hasAttribute("action") && !form.hasAttribute("method")) hold(event, submitter ?? form, () => form.requestSubmit(submitter));
  };
  // After the listeners of others: htmx begins at this event, too.
  const end = () => setTimeout(() => {
    document.removeEventListener("click", click, true);
    document.removeEventListener("submit", submit, true);
    pressed?.removeAttribute("aria-busy");
    if (pressed?.isConnected) again();
  });

  document.addEventListener("click", click, true);
  document.addEventListener("submit", submit, true);
  document.addEventListener("DOMContentLoaded", end, { once: true });
}
