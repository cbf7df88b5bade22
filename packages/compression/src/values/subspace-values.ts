import { normalizeEnergy } from '../factors/normalize-energy.ts';
import { subspaceFactors } from '../factors/subspace-factors.ts';
import { outputMetric } from '../moments/output-metric.ts';
import { type ValueMomentSource, valueMoment } from '../moments/value-moment.ts';
import type { ValueMethod } from '../ports.ts';

export interface SubspaceValueSettings {
  /** Where the spectrum is taken. */
  moment: ValueMomentSource;
  /** 'identity' counts errors of the values; 'output' counts them as the output projection sees them. */
  metric: 'identity' | 'output';
}

/** One value for the heads of a slot: as many directions of their values as it is wide, those that lose least in the metric. */
export function subspaceValues({ moment: source, metric }: SubspaceValueSettings): ValueMethod {
  return (layer, heads, width) => {
    const { headDim } = layer.shape;
    const moment = valueMoment(layer, heads, source);
    const blocks = metric === 'output' ? outputMetric(layer, heads) : undefined;
    return normalizeEnergy(subspaceFactors(moment, headDim, width, blocks), moment);
  };
}
