import { eigenvaluesSymmetric } from '@kvlr/linalg';
import type { WeighedValues } from '../moments/weighed-values.ts';
import type { GroupCost } from './group-cost.ts';

/**
 * Share of a layer's value energy, in the output metric M, that is lost when heads share one value: sum of the
 * eigenvalues of M^(1/2) C M^(1/2) beyond the D-th, over the trace of all heads. Exact; one eigenvalue problem of size
 * t*D per group.
 */
export function lostValueEnergy(values: WeighedValues, headDim: number): GroupCost {
  return (group) => {
    if (group.length === 1 || values.totalEnergy <= 0) return 0;
    const spectrum = eigenvaluesSymmetric(values.assemble(group));
    let lost = 0;
    for (let index = headDim; index < spectrum.length; index++) lost += Math.max(0, spectrum[index]!);
    return lost / values.totalEnergy;
  };
}
