import { describe, expect, it } from 'vitest';
import { ApiError } from '../api/client';
import { Saver } from './saver';

describe('Saver', () => {
  it('writes in order, and once what is asked for again', async () => {
    const written: string[] = [];
    const saver = new Saver(() => {});
    const write = (text: string) => async () => {
      await Promise.resolve();
      written.push(text);
    };
    saver.save('a', write('a1'));
    saver.save('b', write('b1'));
    saver.save('b', write('b2'));
    saver.save('c', write('c1'));
    await saver.idle();
    expect(written).toEqual(['a1', 'b2', 'c1']);
    saver.save('a', write('a2'));
    await saver.idle();
    expect(written.at(-1)).toBe('a2');
  });

  it('tries again what failed, and tells both', async () => {
    const told: unknown[] = [];
    const saver = new Saver((fault) => told.push(fault), 1);
    let tries = 0;
    const lost = new ApiError('no answer', 'unreachable', 0);
    saver.save('a', async () => {
      if (++tries < 3) throw lost;
    });
    await saver.idle();
    expect(tries).toBe(3);
    expect(told).toEqual([lost, lost, undefined]);
  });

  it('gives up what is refused', async () => {
    const told: unknown[] = [];
    const saver = new Saver((fault) => told.push(fault), 1);
    let tries = 0;
    saver.save('a', async () => {
      ++tries;
      throw new ApiError('too large', 'request_too_large', 413);
    });
    await saver.idle();
    expect(tries).toBe(1);
    expect(told).toHaveLength(1);
  });

  it('sends all that waits at once when the page is closed', async () => {
    const sent: string[] = [];
    const saver = new Saver(() => {});
    const ends: (() => void)[] = [];
    // On its way until the page is closed.
    saver.save('a', (leaving) => (sent.push(`a ${leaving ?? false}`), new Promise((resolve) => void ends.push(resolve))));
    saver.save('b', async (leaving) => void sent.push(`b ${leaving ?? false}`));
    saver.leave();
    expect(sent).toEqual(['a false', 'a true', 'b true']);
    for (const end of ends) end();
    await saver.idle();
    saver.leave();
    expect(sent).toEqual(['a false', 'a true', 'b true', 'b false']);
  });
});
