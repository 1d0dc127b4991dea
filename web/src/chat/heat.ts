// How sure a model was of a token.

// The least probability of each class but the first, as words.chat.legend names them.
const classes = [0.05, 0.25, 0.5, 0.8, 0.95];

// The class of a natural logarithm of a probability: 0 (unlikely) to 5 (certain).
export function heatOf(logprob: number): number {
  const probability = Math.exp(logprob);
  return classes.filter((least) => probability >= least).length;
}

export function percent(logprob: number, language: string): string {
  const probability = Math.exp(logprob);
  const digits = probability < 0.001 ? 3 : 1;
  return probability.toLocaleString(language, { style: 'percent', maximumFractionDigits: digits });
}

// A token whose signs can all be seen.
export function visible(token: string): string {
  if (token === '') return '∅';
  const marked = token.replace(/\n/g, '↵\n').replace(/\t/g, '⇥\t');
  return /^ +$/.test(token) ? token.replace(/ /g, '␣') : marked;
}
