// Neuron as 0G, exact: "0.006". A price must not be rounded to something else than is paid, and a float would lose some.
export function og(neuron) {
  const digits = neuron.toString().padStart(19, '0');
  const rest = digits.slice(-18).replace(/0+$/, '');
  return digits.slice(0, -18) + (rest ? `.${rest}` : '');
}

// The same to be read in a sentence, and not typed: "1,234.5".
export function told(neuron) {
  const [whole, rest] = og(neuron).split('.');
  return BigInt(whole).toLocaleString('en') + (rest ? `.${rest}` : '');
}

// The same with four significant digits: an upper bound is rounded up, what one has is cut.
export function about(neuron, up = true) {
  if (neuron === 0n) return '0';
  const unit = 10n ** BigInt(Math.max(0, neuron.toString().length - 4));
  const rounded = ((neuron + (up ? unit - 1n : 0n)) / unit) * unit;
  return rounded < 10n ** 12n ? '<0.000001' : told(rounded);
}
