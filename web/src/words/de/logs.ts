import type { Words } from '../en';

export const logs: Words['logs'] = {
  levels: { debug: 'Einzelheiten', info: 'Nachricht', warning: 'Warnung', error: 'Fehler' },
  show: 'Zeige',
  from: { debug: 'alles', info: 'Nachrichten und Schlimmeres', warning: 'Warnungen und Fehler', error: 'nur Fehler' },
  search: 'Protokoll durchsuchen',
  follow: 'Mitlaufen',
  none: 'Noch wurde nichts protokolliert.',
  noneFound: 'Keine Zeile passt.',
  lost: 'Das Protokoll kommt nicht mehr. Neuer Versuch läuft …',
  log: 'Protokoll dieses Geräts',
};
