import type { Words } from '../en';
import { app } from './app';
import { chat } from './chat';
import { device } from './device';
import { doctor } from './doctor';
import { home } from './home';
import { integrations } from './integrations';
import { logs } from './logs';
import { models } from './models';
import { node } from './node';
import { open } from './open';
import { plan } from './plan';
import { requests } from './requests';
import { settings } from './settings';
import { trace } from './trace';
import { trust } from './trust';

export const de: Words = {
  node,
  view: {
    home: 'Start',
    chat: 'Chat',
    models: 'Modelle',
    plan: 'Plan',
    requests: 'Anfragen',
    trace: 'Ablauf',
    device: 'Gerät',
    trust: 'Geräte',
    settings: 'Einstellungen',
    integrations: 'Programme',
    logs: 'Protokoll',
    doctor: 'Diagnose',
    open: 'Anmelden',
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
