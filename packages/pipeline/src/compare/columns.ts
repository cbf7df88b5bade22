import { lostEnergy, mergeError, readAttentionWeights } from '@kvlr/compression';
import type { ComparisonRow } from '@kvlr/report';
import type { CompressedModel, CompressionMeans } from '../compress.ts';
import type { CompressionPlan } from '../plan.ts';

/** Further figures of a row. */
export interface RowColumns {
  /** Part of the key under which a row is kept: other columns, another row. */
  form: number;
  measure(compressed: CompressedModel, plan: CompressionPlan, means: CompressionMeans): Promise<Partial<ComparisonRow>>;
}

/**
 * What it costs that heads share as the groups say, averaged over the layers: the energy that closed forms leave out, from
 * statistics, and the error at the output of the attention block with all groups of a layer merged, measured on text.
 */
export const groupingColumns: RowColumns = {
  form: 3,
  async measure({ groups }, { model, method, headWidth }, { statistics, recordings }) {
    const { shape } = model;
    let energy = 0;
    let measuredError = 0;
    for (const [layer, ofLayer] of groups.entries()) {
      const weights = await readAttentionWeights(model, layer);
      const source = { shape, layer, weights, statistics: await statistics?.layer(layer) };
      const { exact } = lostEnergy(source, ofLayer.length, headWidth);
      energy += ofLayer.reduce((sum, group) => sum + exact(group), 0);
      measuredError += mergeError(source, method, await recordings.blockInputs(layer), headWidth)(ofLayer);
    }
    return { lostEnergy: energy / groups.length, measuredError: measuredError / groups.length };
  },
};

/** How much each layer keeps. */
export const budgetColumns: RowColumns = { form: 4, measure: async ({ budget }) => ({ budget }) };
