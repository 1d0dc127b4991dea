import { describe, expect, it } from 'vitest';
import { fileNameOf, markdownOf } from './export';

describe('markdownOf', () => {
  it('writes the shown branch', () => {
    const at = { created: 0, updated: 0 };
    const text = markdownOf({
      id: 'c', title: 'Sky', leaf: 'a', ...at,
      messages: [
        { id: 'q', parent: null, role: 'user', content: 'Why?', ...at },
        { id: 'a', parent: 'q', role: 'assistant', content: 'Because.', model: 'm', ...at },
        { id: 'b', parent: 'q', role: 'assistant', content: 'Other.', ...at },
      ],
    });
    expect(text).toBe('# Sky\n\n## User\n\nWhy?\n\n## Assistant (m)\n\nBecause.\n');
  });
});

describe('fileNameOf', () => {
  it('is a name that any system takes', () => {
    expect(fileNameOf('Why is / the "sky" blue?', 'md')).toBe('Why-is-the-sky-blue.md');
    expect(fileNameOf('../..', 'json')).toBe('conversation.json');
    expect(fileNameOf('Größe 7', 'md')).toBe('Größe-7.md');
    expect(fileNameOf('x'.repeat(300), 'md')).toHaveLength(63);
  });
});
