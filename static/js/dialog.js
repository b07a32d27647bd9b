// Dialogs that a script makes: a heading, what is said, and buttons. The focus goes back to where it was when one ends.
export const make = (tag, text = '', name = '') => Object.assign(document.createElement(tag), { textContent: text, className: name });
let made = 0;

// Its `end` closes and removes it.
export function openDialog(title, said, buttons) {
  const dialog = make('dialog', '', 'dialog');
  const heading = make('h2', title);
  heading.id = `made-dialog-${made += 1}`;
  dialog.setAttribute('aria-labelledby', heading.id);
  const [head, body, foot] = [make('header'), make('div'), make('footer')];
  for (const part of [head, foot]) part.setAttribute('role', 'none');
  head.append(heading);
  body.append(...said);
  foot.append(...buttons);
  dialog.append(head, body, foot);
  document.body.append(dialog);
  dialog.showModal();
  dialog.scrollTop = 0; // it begins at its first control, on a phone below what it is about
  const end = () => {
    dialog.close(); // one that is only removed gives no focus back
    dialog.remove();
  };
  return { dialog, end };
}
