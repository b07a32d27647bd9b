// Speech: a file or the microphone becomes WAV here, is listened to, priced, and then sent as the form's own file.
import { told } from './money.js';
import { dollars, startSending, unit } from './price.js';
import { clock, startRecorder } from './recorder.js';
import { seconds, toSamples, toWav } from './wav.js';
import { t } from './words.js';

const form = document.getElementById('composer');
const field = form.elements.recording;
const listen = form.querySelector('[data-listen]');
const says = form.querySelector('[data-listen-says]');
const player = listen.querySelector('audio');
const label = form.querySelector('[data-price-label]');
const most = Number(form.dataset.mostSeconds);
let length = 0;
let trouble = '';
let preparing = null;
let newest = null; // the file that was chosen last

function price() {
  const fee = unit(form, 'most') * BigInt(Math.max(1, Math.ceil(length)));
  label.textContent = length ? t('Transcribe {length} – up to {fee} 0G', { length: clock(length), fee: told(fee) }) + dollars(form, fee) : t('Transcribe');
}

function forget(file = null) {
  newest = file;
  length = 0;
  trouble = '';
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute('src');
  listen.hidden = true;
  price();
}

async function take(file) {
  forget(file);
  says.textContent = t('Reading the recording…');
  try {
    const samples = await toSamples(file);
    if (newest !== file) return; // another was chosen while this one was read
    const longer = { name: file.name, length: clock(seconds(samples)), most: clock(most) };
    if (seconds(samples) > most) throw new Error(t('{name} is {length} long; up to {most} are taken.', longer));
    if (!samples.length) throw new Error(t('{name} is empty.', { name: file.name }));
    const wav = toWav(samples);
    const files = new DataTransfer();
    files.items.add(new File([wav], 'recording.wav', { type: 'audio/wav' }));
    field.files = files.files;
    form.elements.name.value = file.name;
    length = seconds(samples);
    player.src = URL.createObjectURL(wav);
    says.textContent = t('{length}, as it will be sent: {size} MB.', { length: clock(length), size: (wav.size / 2 ** 20).toFixed(1) });
  } catch (error) {
    if (newest !== file) return;
    trouble = error.message;
    says.textContent = trouble;
    field.value = '';
  }
  player.hidden = !length;
  listen.hidden = false;
  price();
}

const chosen = () => { if (field.files[0]) preparing = take(field.files[0]); else forget(); };
field.addEventListener('change', chosen);
form.elements.provider.addEventListener('change', price);
startRecorder(form.querySelector('[data-recorder]'), {
  most,
  onStart: () => { field.value = ''; field.required = false; forget(); },
  onRecorded: (file) => { preparing = take(file); },
});
startSending(form, async () => {
  await preparing;
  if (trouble) throw new Error(trouble);
  if (!length) throw new Error(t('Choose a recording, or make one.'));
});
chosen(); // maybe before this script came
