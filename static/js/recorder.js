// The microphone: asked for on click only, with its level and the time left; ends by itself at the longest length.
import { t } from './words.js';

const words = {
  NotAllowedError: t('The browser does not let this page use the microphone. Allow it in the address bar, or choose a file.'),
  NotFoundError: t('No microphone was found. Connect one, or choose a file.'),
};
export const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

export function startRecorder(root, { most, onStart, onRecorded }) {
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return;
  const [button, label, level, timer, says] = ['record', 'record-label', 'level', 'clock', 'record-says'].map((name) => root.querySelector(`[data-${name}]`));
  root.hidden = false;
  let recorder = null;
  let asking = false;

  function shown(recording) {
    label.textContent = recording ? t('Stop recording') : t('Record with the microphone');
    level.hidden = timer.hidden = !recording;
    button.toggleAttribute('data-recording', recording);
  }

  async function start() {
    if (asking) return; // a second stream would be one that nobody ends
    asking = true;
    says.textContent = t('Waiting for the microphone…');
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      record(stream);
    } catch (error) {
      for (const track of stream?.getTracks() ?? []) track.stop();
      recorder = null;
      says.textContent = words[error.name] ?? t('The microphone cannot be used: {why}', { why: error.message });
    }
    asking = false;
  }

  function record(stream) {
    recorder = new MediaRecorder(stream);
    onStart();
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(stream).connect(analyser);
    const wave = new Float32Array(analyser.fftSize);
    const began = performance.now();
    const pieces = [];
    recorder.addEventListener('dataavailable', ({ data }) => pieces.push(data));
    const ticking = setInterval(() => {
      analyser.getFloatTimeDomainData(wave);
      level.value = Math.min(100, Math.max(...wave.map(Math.abs)) * 100);
      const passed = (performance.now() - began) / 1000;
      timer.textContent = t('{passed} of {most}', { passed: clock(passed), most: clock(most) });
      if (passed >= most) stop();
    }, 100);
    recorder.addEventListener('stop', () => {
      clearInterval(ticking);
      for (const track of stream.getTracks()) track.stop();
      context.close();
      shown(false);
      says.textContent = t('Recorded. Listen to it before you send it.');
      const when = new Date().toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
      onRecorded(new File(pieces, t('Recording, {when}', { when }), { type: recorder.mimeType }));
      recorder = null;
    });
    recorder.start();
    says.textContent = t('Recording. Nothing leaves your browser yet.');
    shown(true);
  }

  function stop() { if (recorder?.state === 'recording') recorder.stop(); }

  button.addEventListener('click', () => { if (recorder) stop(); else start(); });
}
