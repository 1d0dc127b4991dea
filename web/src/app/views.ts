import type { Component } from 'svelte';
import type { Scope } from '../api/types';
import * as home from '../views/home/Home.svelte';

export type ViewName =
  | 'home' | 'chat' | 'models' | 'plan' | 'requests' | 'trace' | 'device' | 'trust'
  | 'settings' | 'integrations' | 'logs' | 'doctor' | 'open';

export interface View {
  name: ViewName;
  // Where the navigation shows it: `bar` also on phones, `more` in the menu there, `none` nowhere:
  // it is reached from another view.
  place: 'bar' | 'more' | 'none';
  // What one must be allowed to do to see it; absent: nothing.
  scope?: Scope;
  // `rest`: what follows the view's name in the address: ['ID'] of #/chat/ID.
  load: () => Promise<{ default: Component<{ rest: string[] }> }>;
}

// In the order of the navigation. Each is a file of its own for the browser, read when it is opened; but the first one
// comes with the page: nobody waits for it once more.
export const views: View[] = [
  { name: 'home', place: 'bar', load: () => Promise.resolve(home) },
  { name: 'chat', scope: 'infer', place: 'bar', load: () => import('../views/chat/Chat.svelte') },
  { name: 'models', place: 'bar', load: () => import('../views/models/Models.svelte') },
  { name: 'trust', scope: 'admin', place: 'bar', load: () => import('../views/trust/Trust.svelte') },
  { name: 'requests', scope: 'models', place: 'more', load: () => import('../views/requests/Requests.svelte') },
  { name: 'integrations', place: 'more', load: () => import('../views/integrations/Integrations.svelte') },
  { name: 'settings', scope: 'admin', place: 'more', load: () => import('../views/settings/Settings.svelte') },
  { name: 'logs', scope: 'admin', place: 'more', load: () => import('../views/logs/Logs.svelte') },
  { name: 'doctor', scope: 'admin', place: 'more', load: () => import('../views/doctor/Doctor.svelte') },
  { name: 'plan', scope: 'admin', place: 'none', load: () => import('../views/plan/Plan.svelte') },
  { name: 'trace', scope: 'admin', place: 'none', load: () => import('../views/trace/Trace.svelte') },
  { name: 'device', place: 'none', load: () => import('../views/device/Device.svelte') },
  { name: 'open', place: 'none', load: () => import('../views/open/Open.svelte') },
];
