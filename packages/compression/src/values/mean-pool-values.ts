import { meanPoolFactors } from '../factors/mean-pool-factors.ts';
import type { ValueMethod } from '../ports.ts';

/** One value per group: the mean of its heads' values. */
export const meanPoolValues: ValueMethod = (layer, heads) => meanPoolFactors(heads.length, layer.shape.headDim);
