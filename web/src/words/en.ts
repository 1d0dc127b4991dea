// Every word that the page shows, in English. The other languages have the same keys: TypeScript
// checks it. A text with values is a function.
export const en = {
  language: 'English',
  skip: 'Skip to the content',
  navigation: 'Main',
  loading: 'Loading…',
  viewFailed: 'This part of the page could not be loaded. Is the node still running? Reload the page.',
  view: {
    home: 'Home',
    chat: 'Chat',
    models: 'Models',
    plan: 'Plan',
    requests: 'Requests',
    trust: 'Devices',
    settings: 'Settings',
    integrations: 'Integrations',
    logs: 'Logs',
  },
};

export type Words = typeof en;
