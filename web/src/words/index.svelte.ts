import { en, type Words } from './en';

// Each language's id and its name in itself.
export const languageNames = [['en', 'English'], ['de', 'Deutsch']] as const;

const key = 'exo.language';

function wanted(): string {
  const chosen = localStorage.getItem(key);
  if (languageNames.some(([id]) => id === chosen)) return chosen!;
  return navigator.language.startsWith('de') ? 'de' : 'en';
}

let language = $state('en');
let shown = $state.raw<Words>(en);

// Reads of it in components are tracked: the page changes its language at once.
export const words: Words = new Proxy(en, {
  get: (_, name: keyof Words) => shown[name],
});

// English comes with the page, other languages are read when they are wanted.
async function show(name: string): Promise<void> {
  shown = name === 'de' ? (await import('./de')).de : en;
  language = name;
  document.documentElement.lang = name;
}

// Shows the language that was chosen here before, or that the browser prefers; English where that cannot be read.
export function startLanguage(): Promise<void> {
  return show(wanted()).catch(() => show('en'));
}

// Rejects where the language cannot be read.
export async function setLanguage(name: string): Promise<void> {
  await show(name);
  localStorage.setItem(key, name);
}

export function currentLanguage(): string {
  return language;
}
