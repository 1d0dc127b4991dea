// Vite gives no files outside of web/ to what stands for a browser.
// @vitest-environment node
import { describe, expect, test } from 'vitest';
import { node, nodeTexts } from './de/node';
import { translator } from './node_texts';

// Where the node writes what the page shows.
const sources = [
  'node/doctor.cc', 'node/doctor_cluster.cc', 'cluster/describe.cc', 'cluster/planner.cc', 'cluster/streaming.cc',
  'cluster/entry_requests.cc', 'cluster/lead_requests.cc', 'cluster/desired_changes.cc', 'cluster/moves.cc', 'cluster/drift.cc', 'cluster/members.cc', 'app/settings.cc', 'app/settings_file.cc',
  'node/share_policy.cc', 'node/node_trust.cc', 'node/inviter.cc', 'node/audit_log.cc', 'net/invitation.cc', 'node/requests.cc',
  'node/requests_choices.cc', 'node/pulls.cc', 'node/pull_preview.cc', 'node/node_pulls.cc', 'node/node_models.cc', 'node/models.cc',
  'node/download_space.cc', 'node/removal.cc', 'node/node_removal.cc', 'node/node_api.cc', 'node/conversation_keeper.cc',
  'service/sessions.cc', 'service/api_keys.cc', 'service/admin/requests.cc',
];
// Whose other texts the page does not show.
const partly = ['wire/plan.cc'];
// Among the literals there, but no text by itself: it stands in a file, or says too little to be found again.
const noTexts = new Set(['chmod -R go= {}', '{}{} {} of {}', ' is not counted on', 'list = ']);

// A busy machine takes its time for some thirty files.
const readingMs = 60_000;

const files = import.meta.glob<string>('../../../src/{app,cluster,net,node,service,wire}/**/*.cc', { query: '?raw', import: 'default' });

// A name and its literals each.
async function literalsIn(names: string[]): Promise<[string, string[]][]> {
  return Promise.all(names.map(async (name) => [name, literalsOf(await files[`../../../src/${name}`]!())]));
}

// String literals, adjacent ones as one, of neither comments nor logs nor checks.
function literalsOf(source: string): string[] {
  const found: string[] = [];
  let end = 0;
  const token = /\/\/[^\n]*|^#[^\n]*|'(?:[^'\\\n]|\\.)*'|"((?:[^"\\]|\\.)*)"|\b(?:LOG|CHECK\w*|static_assert)\(/gm;
  for (let at = token.exec(source); at; at = token.exec(source)) {
    if (at[0].endsWith('(') && !at[0].startsWith('/')) {
      token.lastIndex = callEnd(source, token.lastIndex);
    } else if (at[1] !== undefined) {
      const text = at[1].replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c));
      if (found.length > 0 && end > 0 && /^\s*$/.test(source.slice(end, at.index))) found.push(found.pop()! + text);
      else found.push(text);
      end = token.lastIndex;
    }
  }
  return found;
}

// Behind the parenthesis that closes what is open before `from`.
function callEnd(source: string, from: number): number {
  const token = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)'|[()]/g;
  token.lastIndex = from;
  for (let open = 1; open > 0;) {
    const at = token.exec(source);
    if (!at) return source.length;
    if (at[0] === '(') ++open;
    if (at[0] === ')') --open;
  }
  return token.lastIndex;
}

// Words, not a path, a key or a format alone.
const isText = (literal: string): boolean => / /.test(literal) && /[a-z]{2}/.test(literal.replace(/\{[^{}]*\}/g, ''));

test('every text of the node that the page shows is there in German', async () => {
  for (const [name, literals] of await literalsIn(sources)) {
    const texts = literals.filter((one) => isText(one) && !noTexts.has(one));
    expect.soft(texts.filter((one) => !Object.hasOwn(nodeTexts, one)), name).toEqual([]);
  }
}, readingMs);

test('nothing is kept that the node does not write any more', async () => {
  const written = new Set((await literalsIn([...sources, ...partly])).flatMap(([, literals]) => literals));
  expect(Object.keys(nodeTexts).filter((one) => !written.has(one))).toEqual([]);
}, readingMs);

test('a translation has the values of its text', () => {
  // Of "{} device{}": what makes a plural in English.
  const plural = /\{\}s?\b|\w\{\}/;
  const wrong = Object.entries(nodeTexts).filter(([format, said]) => {
    const counts = [format, said].map((one) => new Set([...one.matchAll(/\{(\d*)[^{}]*\}/g)].map((place, i) => place[1] || String(i))).size);
    return counts[0] !== counts[1] && !plural.test(format);
  });
  expect(wrong).toEqual([]);
});

describe('what the node says, in German', () => {
  test.each([
    ['the disk is nearly full', 'das Laufwerk ist fast voll'],
    ['1.5 GiB of 20.0 GiB are free where /root/.exo lies', '1,5 GiB von 20,0 GiB sind frei, wo /root/.exo liegt'],
    ['/root/.exo has mode 0644; others may read key.pem', '/root/.exo hat die Rechte 0644; andere dürfen key.pem lesen'],
    ['2.0 GiB of 4.0 GiB for models, 0 B of it taken; the smallest takes 3.0 GiB', '2,0 GiB von 4,0 GiB für Modelle, davon 0 B belegt; das kleinste braucht 3,0 GiB'],
    ['plugged in, 80 %; hot; in use; offers 50 % of its speed (heat, its owner works)', 'am Netz, 80 %; heiß; in Gebrauch; bietet 50 % seines Tempos (Hitze, jemand arbeitet daran)'],
    ['desk + laptop, each layer split: 20.1 tokens/s; chosen', 'desk + laptop, jede Schicht geteilt: 20,1 Token/s; gewählt'],
    ['lost laptop (layers 4-7 of qwen3:8b): connection reset', 'laptop ist weg (Schichten 4 bis 7 von qwen3:8b): connection reset'],
    ['by code, as a guest', 'mit Code, als Gast'],
    ['the code is wrong; 2 more tries', 'falsch: Code; noch 2 Versuche'],
    ['exo.toml line 1: threads cannot be \'0\'; it is an integer from 1 to 1024', 'exo.toml Zeile 1: threads kann nicht „0“ sein; es ist eine ganze Zahl von 1 bis 1024'],
    ['something that nobody has translated', 'something that nobody has translated'],
    ['', ''],
  ])('%s', (text, said) => expect(node(text)).toBe(said));
});

test('a refusal of the planner is said whole, with what would fit', () => {
  const refusal = 'big does not fit: it needs 9.0 GiB for 32 layers with a context of 8192 positions; 2 nodes offer 6.5 GiB in all '
    + '(desk 4.0 GiB of 8.0 GiB, nas 2.5 GiB of 4.0 GiB). Add a device, raise a memory budget or ask for a shorter context; with a q8_0 KV cache it needs 6.0 GiB and fits';
  expect(node(refusal)).toBe('big passt nicht: es braucht 9,0 GiB für 32 Schichten mit einem Kontext von 8192 Token; Geräte: 2, zusammen bieten sie 6,5 GiB '
    + '(desk 4.0 GiB of 8.0 GiB, nas 2.5 GiB of 4.0 GiB). Füge ein Gerät hinzu, gib mehr Speicher frei oder verlange einen kürzeren Kontext; mit einem KV-Cache in q8_0 braucht es 6,0 GiB und passt');
});

test('a name that is no text of the node stays as it is, whatever it is made of', () => {
  const said = translator({ '{} is gone': '{} ist weg' }, (text) => text);
  expect(said('a$1(b)[c] is gone')).toBe('a$1(b)[c] ist weg');
  expect(said('constructor')).toBe('constructor');
});
