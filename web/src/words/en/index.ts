// Every word that the page shows, in English: a section for each view, in a file of its own. The
// other languages have the same keys: TypeScript checks it. A text with values is a function.
import { app } from './app';
import { chat } from './chat';
import { device } from './device';
import { doctor } from './doctor';
import { home } from './home';
import { integrations } from './integrations';
import { logs } from './logs';
import { models } from './models';
import { open } from './open';
import { plan } from './plan';
import { requests } from './requests';
import { settings } from './settings';
import { trace } from './trace';
import { trust } from './trust';

export const en = {
  // What the node has written: it writes English.
  node: (text: string): string => text,
  view: {
    home: 'Home',
    chat: 'Chat',
    models: 'Models',
    plan: 'Plan',
    requests: 'Requests',
    trace: 'Trace',
    device: 'Device',
    trust: 'Devices',
    settings: 'Settings',
    integrations: 'Integrations',
    logs: 'Logs',
    doctor: 'Doctor',
    open: 'Sign in',
  },
  app,
  home,
  chat,
  models,
  plan,
  requests,
  trace,
  device,
  trust,
  settings,
  integrations,
  logs,
  doctor,
  open,
};

export type Words = typeof en;
