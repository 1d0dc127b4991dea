// Who this page is signed in as.
import { json, onSignedOut } from '../api/client';
import { connect } from '../api/stream.svelte';
import type { Scope, Session } from '../api/types';

let current = $state.raw<Session>();
let needed = $state(false);

export const session = {
  // Undefined until the node has answered.
  get current(): Session | undefined {
    return current;
  },
  // The node refused a call since nobody is signed in: the sign-in view is shown instead.
  get needed(): boolean {
    return needed;
  },
  may(scope: Scope): boolean {
    return current?.scopes.includes(scope) ?? false;
  },
};

onSignedOut(() => (needed = true));

// Asks who is signed in, and listens to events as that one. Throws ApiError.
export async function refreshSession(): Promise<void> {
  current = await json<Session>('/v1/session');
  needed = current.scopes.length === 0;
  if (!needed) void connect();
}

// Signs in by a one-time link's token or by an API key. Throws ApiError.
export async function signIn(by: { token: string } | { key: string }): Promise<void> {
  await json('/v1/session', { body: by });
  await refreshSession();
}

// Throws ApiError.
export async function signOut(): Promise<void> {
  await json('/v1/session', { method: 'DELETE' });
  await refreshSession();
}
