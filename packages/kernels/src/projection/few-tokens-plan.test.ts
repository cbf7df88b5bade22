import fc from 'fast-check';
import { expect, it } from 'vitest';
import { weightFormats } from '../weights/pack-weights.ts';
import { loadsOfX, planFewTokens, rowsOfGroup } from './few-tokens-plan.ts';

const h100 = { subgroup: 32, workgroups: 264, workgroupBytes: 49152 };

it('gives every multiprocessor a workgroup, and as many rows to each lane as leave enough of them', () => {
  const plan = (rows: number, columns: number, tokens = 1, matrices = 1) =>
    planFewTokens({ format: 'int4', rows, columns, tokens, matrices }, h100);
  const rowsOf = (...given: Parameters<typeof plan>) => [rowsOfGroup(plan(...given)), plan(...given).rowsOfTeam];
  // SmolLM2-135M: output projection, its head; Llama 2 7B: output projection, gate and up.
  expect([rowsOf(576, 576), rowsOf(49152, 576)]).toEqual([
    [4, 1],
    [32, 4],
  ]);
  expect([rowsOf(4096, 4096, 8), rowsOf(11008, 4096, 8, 2)]).toEqual([
    [16, 2],
    [32, 2],
  ]);
  expect(plan(4096, 4096, 8)).toMatchObject({ pieceWords: 1, heldPieces: 32, loadsAhead: true });
  expect(plan(12288, 4096, 8)).toMatchObject({ pieceWords: 2, lanes: 16, teams: 16 });
  expect(plan(4096, 4096, 20)).toMatchObject({ tokens: 10, tokenGroups: 2 });
});

it('fits into registers and memory, and has a lane for every piece or half as many as run in step at least', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...weightFormats),
      fc.integer({ min: 1, max: 60_000 }),
      fc.integer({ min: 1, max: 12_000 }),
      fc.integer({ min: 1, max: 32 }),
      fc.constantFrom(1, 2),
      fc.integer({ min: 0, max: 1536 }),
      (format, rows, columns, tokens, matrices, taken) => {
        const plan = planFewTokens({ format, rows, columns, tokens, matrices, taken }, h100);
        const { lanes, teams, rowsOfTeam, heldPieces, parts, pieces } = plan;
        expect(plan.tokens * plan.tokenGroups).toBeGreaterThanOrEqual(tokens);
        expect(lanes * teams).toBeLessThanOrEqual(256);
        expect(rowsOfTeam * plan.tokens * matrices).toBeLessThanOrEqual(64);
        expect(heldPieces % lanes).toBe(0);
        // Held numbers, or the sums of all lanes in fours; what is taken, or squares, greatest results and rows of all teams.
        const held = Math.max(4 * plan.tokens * parts * heldPieces, 4 * (lanes * teams + heldPieces));
        const memory = held + (taken || (Math.max(loadsOfX(plan), plan.tokens) + 2 * plan.tokens) * teams);
        expect(4 * memory).toBeLessThanOrEqual(16384);
        expect(lanes >= 16 || lanes >= pieces || taken > 0).toBe(true);
      },
    ),
    { numRuns: 2000 },
  );
});
