import fc from 'fast-check';
import { expect, it } from 'vitest';
import { planFewTokens, rowsOfGroup } from './few-tokens-plan.ts';

const h100 = { subgroup: 32, workgroups: 264, workgroupBytes: 49152 };

it('gives every multiprocessor two workgroups, and as many rows to each as that leaves', () => {
  const rowsOf = (rows: number, columns: number, tokens = 1) =>
    rowsOfGroup(planFewTokens({ rows, chunks: columns / 16, parts: 4, tokens, matrices: 1 }, h100));
  // SmolLM2-135M: output projection, down; its head; Llama 2 7B.
  expect([rowsOf(576, 576), rowsOf(576, 1536), rowsOf(49152, 576), rowsOf(4096, 4096)]).toEqual([2, 2, 32, 8]);
  expect(rowsOf(4096, 4096, 8)).toBe(16);
});

it('fits into registers and memory, and has a lane for every chunk or as many as run in step', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60_000 }),
      fc.integer({ min: 1, max: 400 }),
      fc.constantFrom(1, 2, 4, 8),
      fc.integer({ min: 1, max: 16 }),
      fc.constantFrom(1, 2),
      fc.integer({ min: 0, max: 1280 }),
      (rows, groups, parts, tokens, matrices, taken) => {
        const given = { rows, chunks: (groups * 8) / parts, parts, tokens, matrices, taken };
        const plan = planFewTokens(given, h100);
        const { lanes, teams, rowsOfTeam, heldChunks } = plan;
        expect(lanes * teams).toBeLessThanOrEqual(256);
        expect(rowsOfTeam * tokens * matrices).toBeLessThanOrEqual(32);
        // Held numbers, or the sums of all lanes in fours, and what is taken; squares, greatest results and rows of all teams.
        const memory = Math.max(4 * tokens * parts * heldChunks, 4 * lanes * teams) + taken + 3 * tokens * teams;
        expect(4 * memory).toBeLessThanOrEqual(16384);
        expect(lanes).toBeLessThanOrEqual(32);
        expect(lanes === 32 || lanes >= heldChunks).toBe(true);
      },
    ),
    { numRuns: 2000 },
  );
});
