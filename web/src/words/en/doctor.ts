export const doctor = {
  text: 'What exo checks on this device and between devices, and what to do about it.',
  again: 'Check again',
  checking: 'Checking…',
  states: { ok: 'fine', warning: 'could be better', problem: 'needs you', unknown: 'not known' },
  fix: 'What to do',
  allFine: 'Everything is fine.',
  found: (count: number): string => (count === 1 ? 'One thing needs attention.' : `${count} things need attention.`),
};
