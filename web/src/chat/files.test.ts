import { describe, expect, it } from 'vitest';
import { fileLimit, filesLimit, readFile } from './files';

const file = (content: BlobPart, name = 'a.txt') => new File([content], name, { type: 'text/plain' });

describe('readFile', () => {
  it('reads text', async () => {
    expect(await readFile(file('Größe'), [])).toEqual({ name: 'a.txt', kind: 'text/plain', text: 'Größe' });
  });

  it('refuses what is too large, alone or together', async () => {
    await expect(readFile(file('x'.repeat(fileLimit + 1)), [])).rejects.toMatchObject({ fault: 'large' });
    const attached = [{ name: 'b', kind: '', text: 'x'.repeat(filesLimit - 2) }];
    await expect(readFile(file('xyz'), attached)).rejects.toMatchObject({ fault: 'many', file: 'a.txt' });
    expect(await readFile(file('xy'), attached)).toBeDefined();
  });

  it('refuses what is no text', async () => {
    for (const bytes of [[0xff, 0xfe, 0x41], [0x41, 0, 0x42]]) {
      await expect(readFile(file(Uint8Array.from(bytes)), [])).rejects.toMatchObject({ fault: 'binary' });
    }
  });
});
