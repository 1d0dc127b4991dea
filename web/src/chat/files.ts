// Text files that are attached to a question.
import type { Attachment } from '../api/types';

// Of one file, and of all together: more fits no context that a home computes in time.
export const fileLimit = 512 * 1024;
export const filesLimit = 1024 * 1024;

export type FileFault = 'large' | 'many' | 'binary';

export class FileError extends Error {
  constructor(readonly fault: FileFault, readonly file: string, readonly bytes: number) {
    super(`${file}: ${fault}`);
  }
}

// Reads a file as text. `attached`: those that are there already. Throws FileError.
export async function readFile(file: File, attached: Attachment[]): Promise<Attachment> {
  if (file.size > fileLimit) throw new FileError('large', file.name, file.size);
  const others = attached.reduce((sum, one) => sum + one.text.length, 0);
  if (others + file.size > filesLimit) throw new FileError('many', file.name, file.size);
  const bytes = new Uint8Array(await file.arrayBuffer());
  return { name: file.name, kind: file.type || 'text/plain', text: decode(bytes, file) };
}

function decode(bytes: Uint8Array, file: File): string {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    if (!text.includes('\0')) return text;
  } catch {
    // Not UTF-8: refused below.
  }
  throw new FileError('binary', file.name, file.size);
}
