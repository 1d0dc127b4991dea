import { Lexer } from 'marked';
import { describe, expect, it, vi } from 'vitest';
import { GrowingText, parse, type Block } from './parse';

const kinds = (blocks: Block[]) => blocks.map((one) => one.token.type).join(' ');
// All formulas of a text, wherever they stand.
function formulas(text: string): string[] {
  const found: string[] = [];
  JSON.stringify(parse(text), (_, value) => {
    if (value?.type === 'math') found.push(value.tex);
    return value;
  });
  return found;
}

const answer = [
  '# Title', 'A paragraph with **bold**, `code` and $x^2$.', '- one\n- two\n\n- three',
  '```cpp\nint main() {}\n\n// more\n```', '| a | b |\n|---|--:|\n| 1 | 2 |',
  '$$\n\\int_0^1 x\\,dx\n$$', '> quoted\n> text', '1. first\n2. second', 'See [this][ref].',
  '[ref]: https://example.org/', '- [x] done\n- [ ] open', '---', 'The end, ünïcode 🙂.',
].join('\n\n');

describe('parse', () => {
  it('reads the kinds of blocks', () => {
    expect(kinds(parse(answer))).toBe(
      'heading paragraph list code table math blockquote list paragraph list hr paragraph',
    );
  });

  it('finds formulas in dollars and in backslashes', () => {
    expect(formulas('so $x^2$ and \\(y\\) and $$z$$')).toEqual(['x^2', 'y', 'z']);
    expect(formulas('\\[ a + b \\]\n\nnext')).toEqual(['a + b']);
    expect(formulas('$$\na\n\nb\n$$')).toHaveLength(1);
    expect(formulas('**bold $a_1 * b_2 * c$**')).toEqual(['a_1 * b_2 * c']);
  });

  it('takes prices and code for no formulas', () => {
    expect(formulas('it costs $5 and $10')).toEqual([]);
    expect(formulas('from $5-$10 a month')).toEqual([]);
    expect(formulas('`$x$` and\n\n```\n$$y$$\n```')).toEqual([]);
    expect(formulas('only $ one')).toEqual([]);
  });

  it('tells where blocks begin', () => {
    for (const { key, token } of parse(answer)) expect(answer.slice(key)).toMatch(
      new RegExp('^' + token.raw.slice(0, 8).replace(/[^\w ]/g, '\\$&')),
    );
  });

  it('shows what it cannot read as text', () => {
    const deep = '>'.repeat(20_000) + ' x';
    expect(parse(deep).map((one) => one.token.raw).join('')).toBe(deep);
  });
});

describe('GrowingText', () => {
  it('gives at each length what a whole reading gives', () => {
    const stream = new GrowingText();
    for (let length = 0; length <= answer.length; ++length) {
      const text = answer.slice(0, length);
      expect(kinds(stream.update(text))).toBe(kinds(parse(text)));
    }
    const grown = stream.update(answer);
    expect(grown.map((one) => one.key)).toEqual(parse(answer).map((one) => one.key));
    expect(grown.map((one) => one.token.raw)).toEqual(parse(answer).map((one) => one.token.raw));
  });

  it('keeps the blocks that are done', () => {
    const stream = new GrowingText();
    const before = stream.update('a\n\nb\n\nc\n\nd');
    const after = stream.update('a\n\nb\n\nc\n\nd and more');
    expect(after[0]).toBe(before[0]);
    expect(after[1]).toBe(before[1]);
    expect(after.at(-1)!.token.raw).toBe('d and more');
  });

  it('begins anew with another text', () => {
    const stream = new GrowingText();
    stream.update('a\n\nb\n\nc\n\nd');
    expect(kinds(stream.update('# other'))).toBe('heading');
  });

  it('knows in its tail the links that were defined before', () => {
    const stream = new GrowingText();
    stream.update('[ref]: https://example.org/\n\na\n\nb\n\nc\n\n');
    const last = stream.update('[ref]: https://example.org/\n\na\n\nb\n\nc\n\nSee [it][ref].').at(-1)!;
    expect(JSON.stringify(last)).toContain('https://example.org/');
  });

  it('reads little of a long text again', () => {
    const read = vi.spyOn(Lexer.prototype, 'lex');
    const paragraph = 'Some words of an answer that goes on and on.\n\n';
    const stream = new GrowingText();
    for (let count = 1; count <= 400; ++count) stream.update(paragraph.repeat(count));
    expect(Math.max(...read.mock.calls.map(([text]) => text.length))).toBeLessThan(4 * paragraph.length);
    read.mockRestore();
  });
});
