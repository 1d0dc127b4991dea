import type { Words } from './en';

export const de: Words = {
  language: 'Deutsch',
  skip: 'Zum Inhalt springen',
  navigation: 'Hauptmenü',
  loading: 'Wird geladen …',
  viewFailed: 'Dieser Teil der Seite konnte nicht geladen werden. Läuft der Knoten noch? Lade die Seite neu.',
  view: {
    home: 'Start',
    chat: 'Chat',
    models: 'Modelle',
    plan: 'Plan',
    requests: 'Anfragen',
    trust: 'Geräte',
    settings: 'Einstellungen',
    integrations: 'Programme',
    logs: 'Protokoll',
  },
};
