import { expect, test } from 'vitest';
import { hashOf, parseHash } from './router.svelte';

test('names with slashes and other signs keep their parts', () => {
  for (const rest of [[], ['a/b'], ['ä ?#%', 'x']]) {
    expect(parseHash(hashOf('plan', ...rest))).toEqual({ view: 'plan', rest });
  }
});

test('no address is the home view, and a broken escape is taken as it is', () => {
  expect(parseHash('')).toEqual({ view: 'home', rest: [] });
  expect(parseHash('#/')).toEqual({ view: 'home', rest: [] });
  expect(parseHash('#/plan/%E0%')).toEqual({ view: 'plan', rest: ['%E0%'] });
});
