// Colors of code. highlight.js is large: this file is read when the first code is shown.
import hljs from 'highlight.js/lib/common';

export interface Piece {
  text: string;
  // highlight.js' name for what it is, without its prefix; '' for plain text.
  kind: string;
}

// Longer code stays plain: to color it would hold up the page.
export const longestColored = 100_000;

// The pieces of `code`, which joined are `code`; undefined for a language that is not known.
export function highlight(code: string, language: string): Piece[] | undefined {
  if (code.length > longestColored || !hljs.getLanguage(language)) return undefined;
  const html = hljs.highlight(code, { language, ignoreIllegals: true }).value;
  const pieces: Piece[] = [];
  collect(new DOMParser().parseFromString(html, 'text/html').body, '', pieces);
  return pieces;
}

// Only texts and classes are taken over, whatever else might be there.
function collect(node: Node, kind: string, pieces: Piece[]): void {
  for (const child of node.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) pieces.push({ text: child.textContent ?? '', kind });
    else if (child instanceof Element) collect(child, kindOf(child) || kind, pieces);
  }
}

function kindOf(element: Element): string {
  const name = element.classList[0] ?? '';
  return /^hljs-[a-z_-]+$/.test(name) ? name.slice('hljs-'.length) : '';
}
