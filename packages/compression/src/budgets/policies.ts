import {
  type BudgetPolicy,
  type BudgetRequest,
  type BudgetSide,
  KvlrError,
  type LayerBudget,
  Registry,
  throwIfAborted,
} from '@kvlr/core';
import { createMatrix, svd } from '@kvlr/linalg';
import { solveKnapsack } from './knapsack.ts';

/** The same in every layer. */
const uniformBudget: BudgetPolicy = ({ shape, uniform }) =>
  Array.from({ length: shape.numLayers }, () => ({ ...uniform }));

/**
 * LoRC's progressive schedule (Zhang et al. 2024, arXiv 2410.03111). An error made in a layer passes through all
 * layers behind it, so a layer's sensitivity is its cumulative condition number: the product, over it and every deeper layer,
 * of the condition numbers of the key and the value projection. The count a layer keeps lies between a greatest and a
 * smallest, in proportion to where the logarithm of its sensitivity lies between the largest and the smallest of all layers:
 * shallow layers keep most and deep ones least.
 *
 * There greatest and smallest are given; here they follow from the total. The greatest is everything and the smallest
 * what is then left, or, when that is less than the smallest candidate, the smallest candidate and a lower greatest. The
 * schedule is then moved to the nearest counts that may be kept, by least squares at the same total.
 */
const progressiveBudget: BudgetPolicy = async (request) => {
  const { uniform, total, candidates } = request;
  const shared = candidates.keys.filter((count) => candidates.values.includes(count));
  const sensitivities = await cumulativeLogConditions(request);
  const schedule = scheduleCounts(sensitivities, uniform.keys, shared[0]!, shared.at(-1)!);
  const items = schedule.map((wanted) => ({
    sizes: shared.map((count) => 2 * count),
    losses: shared.map((count) => (count - wanted) ** 2),
  }));
  return solveKnapsack(items, total, 'all').map((choice) => shared[choice]!);
};

/** Logarithm of the cumulative condition number of each layer: falls with depth. */
async function cumulativeLogConditions({ shape, weights, onProgress, signal }: BudgetRequest): Promise<number[]> {
  const rows = shape.numKeyValueHeads * shape.headDim;
  const logarithms: number[] = [];
  for (let layer = 0; layer < shape.numLayers; layer++) {
    throwIfAborted(signal);
    const { key, value } = await weights(layer);
    const condition = (weight: Float64Array) => Math.log(conditionNumber(weight, rows, shape.hiddenSize));
    logarithms.push(condition(key) + condition(value));
    onProgress?.(layer + 1, shape.numLayers);
  }
  for (let layer = shape.numLayers - 2; layer >= 0; layer--) logarithms[layer]! += logarithms[layer + 1]!;
  return logarithms;
}

/**
 * The schedule before rounding: greatest - t (greatest - smallest), t = 0 for the most and 1 for the least sensitive layer,
 * with the given mean.
 */
export function scheduleCounts(
  sensitivities: readonly number[],
  mean: number,
  lowest: number,
  highest: number,
): number[] {
  const most = Math.max(...sensitivities);
  const range = most - Math.min(...sensitivities);
  if (range === 0) return sensitivities.map(() => mean);
  const places = sensitivities.map((sensitivity) => (most - sensitivity) / range);
  const meanPlace = places.reduce((sum, place) => sum + place, 0) / places.length;
  const left = highest - (highest - mean) / meanPlace;
  const smallest = Math.max(lowest, left);
  const greatest = left >= lowest ? highest : (mean - meanPlace * lowest) / (1 - meanPlace);
  return places.map((place) => greatest - place * (greatest - smallest));
}

/**
 * Condition number of a projection, largest over smallest singular value. Singular values below rounding error count as it,
 * so that a matrix without full rank has a large condition number and not an infinite one.
 *
 * @param weight [rows, columns] row-major.
 */
export function conditionNumber(weight: Float64Array, rows: number, columns: number): number {
  const { singularValues } = svd(createMatrix(rows, columns, weight));
  const largest = singularValues[0]!;
  if (largest === 0) return 1;
  const floor = largest * Number.EPSILON * Math.max(rows, columns);
  return largest / Math.max(singularValues.at(-1)!, floor);
}

/**
 * The least sum over layers, keys and values of the share of energy that is lost, by dynamic programming: layers and sides
 * whose energy lies in few directions give to those that spread it. Quick, for it reads the statistics alone; every layer
 * counts the same, whatever the output makes of it.
 */
const lostEnergyBudget: BudgetPolicy = (request) => {
  const { lostEnergy } = request;
  if (lostEnergy === undefined) {
    throw new KvlrError('budget-invalid', {
      message: 'expected lost energies, got none',
      hint: 'They come from statistics: a dry run has none; in code, pass lostEnergy with the request.',
      where: { argument: 'lostEnergy' },
    });
  }
  return spreadLosses(request, async ({ layer, sides }, count) => {
    let sum = 0;
    for (const side of sides) sum += await lostEnergy(layer, side, count);
    return sum;
  });
};

/** Ranks are measured at these shares of the uniform one, beside the source's own: every measurement is a pass over text. */
const measuredShares = [0.5, 1, 1.5, 2];

/**
 * The total goes where it is measured to matter: for every layer and count, how far the model's predictions move (KL, nats
 * per token) on held-out calibration text when only that layer is compressed; then the least sum, by dynamic programming.
 * Layers are taken to add up, which leaves out how the error of one changes what another makes of it.
 */
const measuredBudget: BudgetPolicy = (request) => {
  const { measuredLoss, unit, uniform } = request;
  if (measuredLoss === undefined) {
    throw new KvlrError('budget-invalid', {
      message: 'expected a way to measure losses, got none',
      hint: 'A dry run cannot measure; in code, pass measuredLoss with the request.',
      where: { argument: 'measuredLoss' },
    });
  }
  const full = fullBudget(request);
  const thin = (candidates: readonly number[]): readonly number[] => {
    if (unit === 'heads') return candidates;
    const wanted = measuredShares.map((share) => nearest(candidates, share * uniform.keys));
    return [...new Set([...wanted, candidates.at(-1)!])].sort((left, right) => left - right);
  };
  return spreadLosses(
    request,
    ({ layer, sides }, count) =>
      measuredLoss(layer, { ...full, ...Object.fromEntries(sides.map((side) => [side, count])) }),
    thin,
  );
};

function nearest(candidates: readonly number[], wanted: number): number {
  return candidates.reduce((best, count) => (Math.abs(count - wanted) < Math.abs(best - wanted) ? count : best));
}

/**
 * Spreads the total so that the sum of the losses is least, as if those of different parts added up. Keeping everything is
 * taken to lose nothing.
 *
 * @param lossOf Loss of a part at a count below its last.
 * @param thin Counts that are asked for, of all candidates of a part.
 */
async function spreadLosses(
  request: BudgetRequest,
  lossOf: (part: BudgetPart, count: number) => Promise<number>,
  thin: (candidates: readonly number[]) => readonly number[] = (candidates) => candidates,
): Promise<LayerBudget[]> {
  const parts = budgetParts(request).map((part) => ({ ...part, candidates: thin(part.candidates) }));
  const steps = parts.reduce((sum, { candidates }) => sum + candidates.length - 1, 0);
  let completed = 0;
  const items = [];
  for (const part of parts) {
    const losses: number[] = [];
    for (const count of part.candidates.slice(0, -1)) {
      throwIfAborted(request.signal);
      losses.push(await lossOf(part, count));
      request.onProgress?.(++completed, steps);
    }
    items.push({ sizes: part.candidates.map((count) => count * part.sides.length), losses: [...losses, 0] });
  }
  const chosen = solveKnapsack(items, request.total);
  return assembleBudgets(
    parts,
    chosen.map((choice, index) => parts[index]!.candidates[choice]!),
  );
}

/** What a policy decides in one piece: a layer's keys and values together (heads), or one of them (ranks). */
interface BudgetPart {
  layer: number;
  sides: readonly BudgetSide[];
  /** Counts to choose from, ascending; the last loses nothing. */
  candidates: readonly number[];
}

/** The parts of a budget, layer by layer. */
function budgetParts({ shape, unit, candidates }: BudgetRequest): BudgetPart[] {
  const layers = Array.from({ length: shape.numLayers }, (_, layer) => layer);
  if (unit === 'heads')
    return layers.map((layer) => ({ layer, sides: ['keys', 'values'] as const, candidates: candidates.keys }));
  const sides: readonly BudgetSide[] = ['keys', 'values'];
  return layers.flatMap((layer) => sides.map((side) => ({ layer, sides: [side], candidates: candidates[side] })));
}

/** The budget of each layer from one count per part. */
function assembleBudgets(parts: readonly BudgetPart[], counts: readonly number[]): LayerBudget[] {
  const budgets: LayerBudget[] = [];
  parts.forEach(({ layer, sides }, index) => {
    const budget = budgets[layer] ?? { keys: 0, values: 0 };
    for (const side of sides) budget[side] = counts[index]!;
    budgets[layer] = budget;
  });
  return budgets;
}

/** Everything that the source keeps. */
function fullBudget({ candidates }: BudgetRequest): LayerBudget {
  return { keys: candidates.keys.at(-1)!, values: candidates.values.at(-1)! };
}

export interface NamedBudget {
  policy: BudgetPolicy;
  /** One line for help texts. */
  description: string;
  /** What it reads: a dry run has the weights alone. */
  needs: 'nothing' | 'weights' | 'statistics' | 'measurement';
}

/** The budgets that can be asked for by name. All keep the same total. */
export const budgetPolicies = new Registry<NamedBudget>({
  kind: 'budget policy',
  entries: {
    uniform: { policy: uniformBudget, description: 'The same in every layer', needs: 'nothing' },
    progressive: {
      policy: progressiveBudget,
      description: 'More in shallow layers, by condition numbers of the weights (LoRC)',
      needs: 'weights',
    },
    'lost-energy': {
      policy: lostEnergyBudget,
      description: 'The least lost key and value energy over all layers',
      needs: 'statistics',
    },
    measured: {
      policy: measuredBudget,
      description: 'The least measured loss: each layer compressed alone, on held-out calibration text',
      needs: 'measurement',
    },
  },
});
