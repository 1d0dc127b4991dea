import { describe, expect, it } from 'vitest';
import { highlight, longestColored } from './highlight';

describe('highlight', () => {
  it('gives the code back, piece by piece', () => {
    const code = 'const a = "<b>&amp;</b>"; // it\'s <script>alert(1)</script>\n';
    const pieces = highlight(code, 'js')!;
    expect(pieces.map((one) => one.text).join('')).toBe(code);
    expect(pieces.find((one) => one.text === 'const')?.kind).toBe('keyword');
    expect(pieces.find((one) => one.text.startsWith('"'))?.kind).toBe('string');
  });

  it('knows the names that models write', () => {
    for (const name of ['cpp', 'c++', 'py', 'python', 'ts', 'bash', 'sh', 'json', 'html', 'rust', 'go', 'sql', 'yaml'])
      expect(highlight('x', name), name).toBeDefined();
  });

  it('leaves code of unknown languages and very long code alone', () => {
    expect(highlight('x', 'klingon')).toBeUndefined();
    expect(highlight('x', '')).toBeUndefined();
    expect(highlight('x'.repeat(longestColored + 1), 'js')).toBeUndefined();
  });
});
