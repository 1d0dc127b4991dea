import { expect, test } from 'vitest';
import { de } from './de';
import { en } from './en';
import { span } from './layers';

test('one layer is no range', () => {
  expect(span(7, 7)).toBe('7');
  expect(span(0, 7)).toBe('0–7');
  expect(en.home.layersShort(7, 7)).toBe('layer 7');
  expect(en.home.layersShort(0, 7)).toBe('layers 0–7');
  expect(en.home.leadsShort(0, 0)).toBe('leads, 0');
  expect(de.home.layers('gemma', 7, 7)).toBe('gemma: Schicht 7');
  expect(de.plan.stage('Küche', 0, 7)).toBe('Küche: Schichten 0 bis 7');
});
