import type { Component } from 'svelte';

export type ViewName =
  | 'home' | 'chat' | 'models' | 'plan' | 'requests' | 'trust' | 'settings' | 'integrations' | 'logs';

export interface View {
  name: ViewName;
  // `rest`: what follows the view's name in the address: ['ID'] of #/chat/ID.
  load: () => Promise<{ default: Component<{ rest: string[] }> }>;
}

// In the order of the navigation. Each is a file of its own for the browser, read when it is opened.
export const views: View[] = [
  { name: 'home', load: () => import('../views/home/Home.svelte') },
];
