// Where a picture is to be changed: a brush and rectangles, by pointer or keys. Thousandths of the picture, as the server reads them.
import { announce } from './toast.js';
import { t, tn } from './words.js';

const WHOLE = 1000;
const BRUSH = 35;
const STEP = 2; // percent, for the arrow keys
const LONGEST_LOAD = 60000;

export function startMask(form) {
  const tool = form.querySelector('[data-mask-tool]');
  const canvas = tool.querySelector('canvas');
  const pen = canvas.getContext('2d');
  const says = tool.querySelector('[data-mask-says]');
  const [undo, clear, add] = ['undo', 'clear', 'add'].map((name) => form.querySelector(`[data-mask-${name}]`));
  const sides = ['left', 'top', 'width', 'height'].map((name) => form.elements[`rect_${name}`]);
  let picture = null;
  let shapes = [];
  let drawing = null; // the shape under the pointer
  let newest = null; // what was chosen last, whichever is read first

  const color = (name) => getComputedStyle(canvas).getPropertyValue(name);
  const percent = () => sides.map((side) => Math.min(100, Math.max(0, Number.parseInt(side.value, 10) || 0)));
  const typed = () => percent().map((value) => value * (WHOLE / 100));

  function draw() {
    if (!picture) return;
    pen.globalAlpha = 1;
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    pen.globalAlpha = 0.55;
    pen.fillStyle = pen.strokeStyle = color('--accent-fill');
    pen.lineCap = pen.lineJoin = 'round';
    const [x, y] = [canvas.width / WHOLE, canvas.height / WHOLE];
    for (const shape of drawing ? [...shapes, drawing] : shapes) {
      if (Array.isArray(shape)) { pen.fillRect(shape[0] * x, shape[1] * y, shape[2] * x, shape[3] * y); continue; }
      pen.lineWidth = 2 * shape.r * x;
      pen.beginPath();
      shape.p.forEach(([px, py], i) => (i ? pen.lineTo(px * x, py * y) : pen.moveTo(px * x, py * y)));
      if (shape.p.length === 1) pen.lineTo(shape.p[0][0] * x + 0.1, shape.p[0][1] * y);
      pen.stroke();
    }
    const [left, top, width, height] = typed();
    pen.globalAlpha = 1;
    pen.lineWidth = 2;
    pen.setLineDash([6, 4]);
    if (form.elements.tool.value === 'rect') pen.strokeRect(left * x, top * y, width * x, height * y);
    pen.setLineDash([]);
  }

  function update() {
    form.elements.mask.value = shapes.length ? JSON.stringify(shapes) : '';
    undo.disabled = clear.disabled = !shapes.length;
    says.textContent = shapes.length
      ? tn('{n} place is marked: only there the picture is made anew.', '{n} places are marked: only there the picture is made anew.', shapes.length)
      : t('Nothing is marked: the whole picture is made anew.');
    draw();
  }

  const mark = (shape) => { if (Array.isArray(shape) ? shape[2] && shape[3] : shape) shapes.push(shape); update(); };

  async function show(source) {
    newest = source;
    const read = source && await createImageBitmap(source).catch(() => null); // the server names the file and the rule
    if (newest !== source) return;
    picture?.close();
    picture = read;
    shapes = [];
    tool.hidden = add.hidden = !picture;
    if (!picture) { update(); return; }
    const scale = Math.min(1, 1024 / Math.max(picture.width, picture.height));
    [canvas.width, canvas.height] = [picture.width * scale, picture.height * scale];
    update();
  }

  // The picture that is edited, where none is chosen in its place.
  async function source() {
    const wanted = tool.dataset.source || null;
    newest = wanted;
    const kept = wanted && await fetch(wanted, { signal: AbortSignal.timeout(LONGEST_LOAD) }).then((answer) => answer.blob()).catch(() => null);
    if (newest !== wanted) return;
    await show(kept);
    if (!wanted || picture || newest !== kept) return;
    const box = form.querySelector('[data-unusable]');
    box.hidden = false;
    box.lastElementChild.textContent = t('The picture to change could not be loaded, so no part of it can be marked: all of it would be made anew. Load the page again.');
  }

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const place = (value, start, size) => Math.round(Math.min(1, Math.max(0, (value - start) / size)) * WHOLE);
    return [place(event.clientX, box.left, box.width), place(event.clientY, box.top, box.height)];
  };

  canvas.addEventListener('pointerdown', (event) => {
    if (event.button || !event.isPrimary) return; // a menu, or a second finger
    canvas.setPointerCapture(event.pointerId);
    const [x, y] = at(event);
    drawing = form.elements.tool.value === 'rect' ? Object.assign([x, y, 0, 0], { from: [x, y] }) : { r: BRUSH, p: [[x, y]] };
    draw();
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!drawing) return;
    const [x, y] = at(event);
    if (drawing.p) {
      if (drawing.p.length < 1000) drawing.p.push([x, y]);
    } else {
      const [fx, fy] = drawing.from;
      drawing.splice(0, 4, Math.min(x, fx), Math.min(y, fy), Math.abs(x - fx), Math.abs(y - fy));
    }
    draw();
  });
  canvas.addEventListener('pointerup', () => { const done = drawing; drawing = null; if (done) mark(done); });
  canvas.addEventListener('pointercancel', () => { drawing = null; draw(); });
  canvas.addEventListener('keydown', (event) => {
    const moves = { ArrowLeft: [0, -STEP], ArrowRight: [0, STEP], ArrowUp: [1, -STEP], ArrowDown: [1, STEP] };
    if (event.key === 'Enter') { event.preventDefault(); mark(typed()); return; }
    if (event.key === 'z' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); shapes.pop(); update(); return; }
    if (!moves[event.key]) return;
    event.preventDefault();
    form.querySelector('[name=tool][value=rect]').checked = true;
    const [axis, by] = moves[event.key];
    const side = sides[axis + (event.shiftKey ? 2 : 0)];
    side.value = Math.min(100, Math.max(0, Number(side.value) + by));
    announce(`${side.labels[0].textContent.trim()} ${side.value} %`);
    draw();
  });

  const take = (rest) => {
    shapes = rest;
    update();
    if (!shapes.length) canvas.focus(); // a button that is off keeps no focus
  };
  undo.addEventListener('click', () => take(shapes.slice(0, -1)));
  clear.addEventListener('click', () => take([]));
  add.addEventListener('click', () => mark(typed()));
  for (const field of [...sides, ...form.querySelectorAll('[name=tool]')]) field.addEventListener('input', draw);
  const { picture: field } = form.elements;
  const chosen = () => (field.files[0] ? show(field.files[0]) : source());
  field.addEventListener('change', chosen);
  chosen(); // maybe before this script came
}
