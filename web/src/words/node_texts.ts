// Texts that the node writes: it writes English, for commands and logs too, and another language finds them again by
// the format strings of its sources (docs/adr/0030-texts-of-the-node.md).

interface Piece {
  // How much of the text is fixed: of several that match, the one that says most is meant.
  fixed: number;
  matches: RegExp;
  // Fixed parts of the other language, and between them numbers of values.
  said: (string | number)[];
}

const placeholder = /\{(\d*)(?::[^{}]*?([a-z]?))?\}/g;

// What is put together at the end of another text, or in front of one: "; others may read {}", "plugged in, ".
const withEnds = (format: string): [string, string] => [/^[ ;,:]/.test(format) ? '{}' : '', / $/.test(format) ? '{}' : ''];

const literal = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

// A format string as fixed parts and numbers of values, as fmt counts them.
function partsOf(format: string, onplace: (kind: string) => void = () => {}): (string | number)[] {
  const parts: (string | number)[] = [];
  let from = 0;
  let next = 0;
  for (const place of format.matchAll(placeholder)) {
    parts.push(format.slice(from, place.index), place[1] ? Number(place[1]) : next++);
    onplace(place[2] ?? '');
    from = place.index + place[0].length;
  }
  return [...parts, format.slice(from)];
}

function pieceOf(format: string, translation: string): Piece {
  const [front, back] = withEnds(format);
  const kinds: string[] = [];
  const parts = partsOf(front + format + back, (kind) => kinds.push(kind));
  const seen = new Set<number>();
  const pattern = parts.map((part, i) => {
    if (typeof part === 'string') return literal(part);
    if (seen.has(part)) return `\\k<v${part}>`;
    seen.add(part);
    return `(?<v${part}>${kinds[(i - 1) / 2] === 'f' ? '-?[\\d.]+' : '.*?'})`;
  });
  return {
    fixed: parts.reduce<number>((sum, part) => sum + (typeof part === 'string' ? part.length : 0), 0),
    matches: new RegExp(`^${pattern.join('')}$`, 's'),
    said: partsOf(front + translation + back),
  };
}

// What joins texts of any kind: a cause and its detail, remarks one after the other.
const joints = ['{}; {}', '{}: {}', '{} ({})'];

// Gives what turns a text of the node into the language of `texts`, by format string. Values are texts themselves where
// they match; `value` says the others, such as figures. What matches nothing stays as it is.
export function translator(texts: Record<string, string>, value: (text: string) => string): (text: string) => string {
  let pieces: Piece[] | undefined;
  const known = (text: string): boolean => Object.hasOwn(texts, text);

  function said(text: string): string {
    if (!/\p{L}/u.test(text)) return value(text);
    if (known(text)) return texts[text]!;
    const list = text.split(', ');
    if (list.every(known)) return list.map(said).join(', ');
    for (const { matches, said: parts } of pieces!) {
      const found = matches.exec(text)?.groups;
      if (found) return parts.map((part) => (typeof part === 'string' ? part : said(found[`v${part}`]!))).join('');
    }
    return value(text);
  }

  return (text) => {
    pieces ??= [...Object.entries(texts).filter(([format]) => /[{]|^[ ;,:]| $/.test(format)), ...joints.map((one) => [one, one] as const)]
      .map(([format, translation]) => pieceOf(format, translation))
      .sort((a, b) => b.fixed - a.fixed);
    return said(text);
  };
}
