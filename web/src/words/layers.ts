// Layers of a model, told by the first and the last one.

// "7" or "0–7": no range where there is one.
export function span(first: number, last: number): string {
  return first === last ? `${first}` : `${first}–${last}`;
}

// The same with its noun before it, and a word between the two.
export function named(one: string, many: string, to: string): (first: number, last: number) => string {
  return (first, last) => (first === last ? `${one} ${first}` : `${many} ${first}${to}${last}`);
}
