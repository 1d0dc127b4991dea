// Text of a model into a tree of tokens, which components show: no text of a model ever becomes
// HTML, so that there is nothing to sanitize but addresses (safe.ts).
import { Marked, type MarkedExtension, type Token, type Tokens, type TokensList } from 'marked';

// A formula. `display`: on a line of its own.
export interface MathToken {
  type: 'math';
  raw: string;
  tex: string;
  display: boolean;
}

export interface Block {
  // Where the block begins in the text: it stays while the text grows.
  key: number;
  token: Token;
}

const block = /^ {0,3}(?:\$\$((?:[^$\\]|\\[^])+?)\$\$|\\\[([^]+?)\\\]) *(?:\n+|$)/;
// A price is no formula: "$5 and $10". So a dollar sign opens only before a sign that is no space,
// and closes only behind one, and not before a digit (pandoc's rule).
const inline = /^(?:\$\$([^$\n]+?)\$\$|\$(?![\s$])((?:[^$\\\n]|\\[^\n])*?(?:[^\s$\\]|\\[^\s]))\$(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\])/;

function mathOf(found: RegExpExecArray, display: boolean): MathToken {
  return { type: 'math', raw: found[0], tex: found.slice(1).find(Boolean)!.trim(), display };
}

// Up to the empty line: no more is asked for, and the rest of a long text is not searched each time.
function paragraph(text: string): string {
  const end = text.indexOf('\n\n');
  return end < 0 ? text : text.slice(0, end);
}

const math: MarkedExtension = {
  extensions: [
    {
      name: 'mathBlock',
      level: 'block',
      start: (text) => /(?:^|\n) {0,3}(?:\$\$|\\\[)/.exec(paragraph(text))?.index,
      tokenizer(text) {
        const found = block.exec(text);
        return found ? mathOf(found, true) : undefined;
      },
    },
    {
      name: 'math',
      level: 'inline',
      start: (text) => /\$|\\[([]/.exec(text)?.index,
      tokenizer(text) {
        const found = inline.exec(text);
        return found ? mathOf(found, found[0].startsWith('$$') || found[0].startsWith('\\[')) : undefined;
      },
    },
  ],
};

const marked = new Marked({ gfm: true, breaks: true }, math);

type Links = TokensList['links'];

// Blocks of a text, or of its tail that begins at `offset`. `links`: those that are known from what
// came before; new ones are added.
function lex(text: string, offset = 0, links: Links = {}): Block[] {
  const lexer = new marked.Lexer(marked.defaults);
  Object.assign(lexer.tokens.links, links);
  let tokens: Token[];
  try {
    tokens = lexer.lex(text);
  } catch {
    // So deeply nested that the parser gives up: no answer that someone wrote for a reader.
    tokens = [{ type: 'text', raw: text, text } satisfies Tokens.Text];
  }
  Object.assign(links, lexer.tokens.links);
  const blocks: Block[] = [];
  for (const token of tokens) {
    if (token.type !== 'space' && token.type !== 'def') blocks.push({ key: offset, token });
    offset += token.raw.length;
  }
  return blocks;
}

// The blocks of a text that is whole.
export function parse(text: string): Block[] {
  return lex(clean(text));
}

// The lexer's own first step, done here so that offsets are those of its input.
function clean(text: string): string {
  return text.replace(/\r\n|\r/g, '\n');
}

// The blocks of a text that grows. Only its tail is read again: all blocks but the last two cannot
// change any more, whatever follows (a list may go on behind an empty line, a paragraph become a
// table). Blocks that stayed are the same objects, so that nothing of them is drawn again.
export class GrowingText {
  #seen = '';
  #settled: Block[] = [];
  #links: Links = {};
  // Of the settled blocks.
  #length = 0;

  update(raw: string): Block[] {
    const text = clean(raw);
    if (!text.startsWith(this.#seen.slice(0, this.#length))) this.#reset();
    this.#seen = text;
    const tail = lex(text.slice(this.#length), this.#length, this.#links);
    const open = tail.slice(-2);
    const closed = tail.slice(0, -2);
    if (closed.length > 0) {
      this.#settled = [...this.#settled, ...closed];
      this.#length = open[0]!.key;
    }
    return [...this.#settled, ...open];
  }

  #reset(): void {
    this.#settled = [];
    this.#links = {};
    this.#length = 0;
  }
}
