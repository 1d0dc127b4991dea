import { expect, test } from 'vitest';
import { arc, hopsOf, layout, pathBetween } from './graph';

test('no device leaves the picture or touches another one', () => {
  for (const width of [300, 360, 700, 1180]) {
    for (const devices of [1, 2, 3, 6, 9, 10, 64]) {
      const { points, radius, height } = layout(devices, width);
      expect(points).toHaveLength(devices);
      for (const [i, a] of points.entries()) {
        expect(a.x - radius, `${devices} in ${width}`).toBeGreaterThanOrEqual(0);
        expect(a.x + radius).toBeLessThanOrEqual(width);
        expect(a.y - radius).toBeGreaterThanOrEqual(0);
        expect(a.y + radius).toBeLessThanOrEqual(height);
        for (const b of points.slice(i + 1)) {
          expect(Math.hypot(a.x - b.x, a.y - b.y), `${devices} in ${width}`).toBeGreaterThan(2 * radius);
        }
      }
    }
  }
});

test('tokens go from stage to stage and back to the first', () => {
  expect(hopsOf([{ node_id: 'a' }])).toEqual([]);
  expect(hopsOf([{ node_id: 'a' }, { node_id: 'a' }])).toEqual([]);
  expect(hopsOf([{ node_id: 'a' }, { node_id: 'b' }, { node_id: 'c' }])).toEqual([
    { from: 'a', to: 'b' }, { from: 'b', to: 'c' }, { from: 'c', to: 'a' },
  ]);
});

test('a line begins and ends at the edges, and there and back differ', () => {
  const a = { x: 0, y: 0 }, b = { x: 200, y: 0 };
  expect(pathBetween(a, b, 20)).not.toEqual(pathBetween(b, a, 20));
  expect(pathBetween(a, a, 20)).not.toContain('NaN');
});

test('a ring is never more than full', () => {
  const center = { x: 0, y: 0 };
  expect(arc(center, 10, 0, 0)).toBe('');
  expect(arc(center, 10, 0, 0.25)).toBe('M0 -10A10 10 0 0 1 10 0');
  expect(arc(center, 10, 0, 1)).toBe('M0 -10A10 10 0 0 1 0 10A10 10 0 0 1 0 -10');
  expect(arc(center, 10, 0, 3)).toBe(arc(center, 10, 0, 1));
});
