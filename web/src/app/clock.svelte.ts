// The time now, for countdowns and "5 minutes ago": one timer for all that show it.
import { createSubscriber } from 'svelte/reactivity';

const subscribe = createSubscriber((update) => {
  const timer = setInterval(update, 1000);
  return () => clearInterval(timer);
});

// Milliseconds since 1970; in components, read again each second.
export function now(): number {
  subscribe();
  return Date.now();
}
