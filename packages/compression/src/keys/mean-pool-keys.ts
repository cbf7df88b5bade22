import { meanPoolFactors } from '../factors/mean-pool-factors.ts';
import type { KeyMethod } from '../ports.ts';

/** One key per group: the mean of its heads' keys. */
export const meanPoolKeys: KeyMethod = (layer, heads) => meanPoolFactors(heads.length, layer.shape.headDim);
