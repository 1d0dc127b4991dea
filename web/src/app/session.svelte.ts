// Who this page is signed in as.
import { json, onSignedOut } from '../api/client';
import { connect } from '../api/stream.svelte';
import type { Scope, Session } from '../api/types';

let current = $state.raw<Session>();

export const session = {
  // Undefined until the node has answered.
  get current(): Session | undefined {
    return current;
  },
  // Nothing at all is allowed: the sign-in view is all there is to see.
  get needed(): boolean {
    return current?.scopes.length === 0;
  },
  may(scope: Scope): boolean {
    return current?.scopes.includes(scope) ?? false;
  },
};

// A session that has ended elsewhere is noticed by a call that is refused. One that was never there
// is not asked for again by each refusal.
onSignedOut(() => {
  if (current?.signed_in) void refreshSession().catch(() => {});
});

// Asks who is signed in, and listens to events as that one. Throws ApiError.
export async function refreshSession(): Promise<void> {
  current = await json<Session>('/v1/session');
  if (current.scopes.length > 0) void connect();
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
