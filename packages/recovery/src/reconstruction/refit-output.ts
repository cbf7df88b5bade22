import type { WholeProjections } from '../training/whole-projections.ts';
import type { BlockPasses } from './block-passes.ts';
import { solveChange } from './output-moments.ts';

/**
 * Moves the output projection to the least-squares optimum for the block's present attention, in closed form (see `solveChange`). An
 * output bias stays as it is.
 *
 * @returns False where nothing could be solved: the attended values are all zero, or too large or too small for float32.
 */
export async function refitOutput(passes: BlockPasses, attention: WholeProjections): Promise<boolean> {
  const solved = solveChange(await passes.moments('train'), await passes.moments('heldOut'));
  if (solved?.change !== undefined) attention.moveOutput(solved.change);
  return solved !== undefined;
}
