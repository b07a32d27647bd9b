// Any sound the browser can play, as WAV: one channel, 16 kHz, 16 bit. Nothing else of the file goes along.
import { t } from './words.js';

const RATE = 16000;

export async function toSamples(blob) {
  // A context of that rate resamples while it decodes.
  const context = new OfflineAudioContext(1, 1, RATE);
  let sound;
  try {
    sound = await context.decodeAudioData(await blob.arrayBuffer());
  } catch {
    throw new Error(t('{name} is not a sound that this browser can play. Try WAV, MP3, M4A, Ogg or WebM.', { name: blob.name || t('The recording') }));
  }
  const mixed = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel += 1) {
    const samples = sound.getChannelData(channel);
    for (let i = 0; i < mixed.length; i += 1) mixed[i] += samples[i] / sound.numberOfChannels;
  }
  return mixed;
}

export const seconds = (samples) => samples.length / RATE;

export function toWav(samples) {
  const view = new DataView(new ArrayBuffer(44 + samples.length * 2));
  const text = (at, words) => [...words].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, 'RIFF');
  view.setUint32(4, 36 + samples.length * 2, true);
  text(8, 'WAVEfmt ');
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true);
  view.setUint32(28, RATE * 2, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, 'data');
  view.setUint32(40, samples.length * 2, true);
  samples.forEach((sample, i) => view.setInt16(44 + i * 2, Math.max(-1, Math.min(1, sample)) * 32767, true));
  return new Blob([view.buffer], { type: 'audio/wav' });
}
