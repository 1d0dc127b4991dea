import { de } from './de';
import { en, type Words } from './en';

const languages: Record<string, Words> = { en, de };
// Each language's id and its name in itself.
export const languageNames = Object.entries(languages).map(([id, one]) => [id, one.language] as const);

const key = 'exo.language';

function wanted(): string {
  const chosen = localStorage.getItem(key);
  if (chosen && chosen in languages) return chosen;
  return navigator.language.startsWith('de') ? 'de' : 'en';
}

let language = $state(wanted());

// Reads of it in components are tracked: the page changes its language at once.
export const words: Words = new Proxy(en, {
  get: (_, name: keyof Words) => languages[language]![name],
});

export function setLanguage(name: string): void {
  language = name;
  localStorage.setItem(key, name);
  document.documentElement.lang = name;
}

export function currentLanguage(): string {
  return language;
}

document.documentElement.lang = currentLanguage();
