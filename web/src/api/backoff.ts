// How long to wait before the `attempt`th try (from 0): doubling from half a second to 15 s, spread
// by chance so that many pages do not come back in the same moment. `random`: 0 to 1.
export function backoffMs(attempt: number, random: number): number {
  const full = Math.min(15_000, 500 * 2 ** Math.min(attempt, 10));
  return full / 2 + (full / 2) * random;
}
