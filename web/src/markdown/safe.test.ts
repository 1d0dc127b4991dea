import { describe, expect, it } from 'vitest';
import { embeddedPicture, hostOf, safeLink } from './safe';

describe('safeLink', () => {
  it('takes addresses of pages and of people', () => {
    expect(safeLink('https://example.org/a?b#c')).toBe('https://example.org/a?b#c');
    expect(safeLink('http://192.168.1.2:8080')).toBe('http://192.168.1.2:8080/');
    expect(safeLink('mailto:a@example.org')).toBe('mailto:a@example.org');
  });

  it.each([
    'javascript:alert(1)', 'JaVaScRiPt:alert(1)', ' javascript:alert(1)', 'java\nscript:alert(1)',
    'java\tscript:alert(1)', '\u0001javascript:alert(1)', 'javascript&colon;alert(1)', 'vbscript:x',
    'data:text/html,<script>alert(1)</script>', 'data:image/svg+xml,<svg onload=alert(1)>', 'blob:http://x/y',
    'file:///etc/passwd', '#/settings', '/v1/session', '//example.org', 'x', '', 'about:blank',
    'intent://scan', 'filesystem:http://x',
  ])('refuses %j', (href) => expect(safeLink(href)).toBeUndefined());
});

describe('embeddedPicture', () => {
  it('takes pictures that are in the text', () => {
    expect(embeddedPicture('data:image/png;base64,iVBORw0KGgo=')).toBeDefined();
  });

  it.each([
    'https://example.org/a.png', 'data:image/svg+xml;base64,PHN2Zz4=', 'data:text/html;base64,PGI+',
    'data:image/png,<svg>', 'javascript:alert(1)',
  ])('refuses %j', (href) => expect(embeddedPicture(href)).toBeUndefined());
});

describe('hostOf', () => {
  it('tells where a link leads', () => {
    expect(hostOf('https://example.org:8080/long/path?q')).toBe('example.org:8080');
    expect(hostOf('mailto:a@example.org')).toBe('a@example.org');
  });
});
