// Light or dark: as the system says, or as was chosen in this browser.
export const schemes = ['system', 'light', 'dark'] as const;
export type Scheme = (typeof schemes)[number];

const key = 'exo.scheme';
const stored = localStorage.getItem(key) as Scheme | null;
let scheme = $state<Scheme>(stored && schemes.includes(stored) ? stored : 'system');

export function currentScheme(): Scheme {
  return scheme;
}

export function setScheme(wanted: Scheme): void {
  scheme = wanted;
  localStorage.setItem(key, wanted);
  show();
}

function show(): void {
  if (scheme === 'system') delete document.documentElement.dataset.scheme;
  else document.documentElement.dataset.scheme = scheme;
}

show();
