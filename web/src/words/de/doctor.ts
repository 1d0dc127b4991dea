import type { Words } from '../en';

export const doctor: Words['doctor'] = {
  text: 'Was exo auf diesem Gerät und zwischen Geräten prüft, und was zu tun ist.',
  again: 'Noch einmal prüfen',
  checking: 'Wird geprüft …',
  states: { ok: 'in Ordnung', warning: 'könnte besser sein', problem: 'braucht dich', unknown: 'nicht bekannt' },
  fix: 'Was zu tun ist',
  allFine: 'Alles ist in Ordnung.',
  found: (count: number): string => (count === 1 ? 'Eine Sache braucht Aufmerksamkeit.' : `${count} Sachen brauchen Aufmerksamkeit.`),
};
