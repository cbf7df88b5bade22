/** Counts by layer for people: one number where all are alike. */
export function listCounts(counts: readonly number[]): string {
  return new Set(counts).size === 1 ? String(counts[0]) : counts.join(', ');
}
