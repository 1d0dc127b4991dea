import type { Words } from '../en';

export const open: Words['open'] = {
  title: 'Anmelden',
  opening: 'Wird geöffnet …',
  already: (name: string) => `Du bist auf ${name} angemeldet.`,
  goHome: 'Zum Start',
  linkTitle: 'Mit einem Link',
  linkText: 'Führe auf einem Computer dieses Verbunds diesen Befehl aus. Er zeigt einen Link, der diesen Browser einmal anmeldet, innerhalb von 10 Minuten.',
  keyTitle: 'Mit einem API-Schlüssel',
  keyText: 'Die Seite darf dann, was der Schlüssel darf.',
  key: 'API-Schlüssel',
  signIn: 'Anmelden',
  badLink: 'Der Link hat nicht funktioniert',
};
