import { complexKeyMoments } from '@kvlr/rope';
import { fitPhasor, type PhasorField } from '../factors/fit-phasor.ts';
import { emptyFactors, placePhasor } from '../factors/place-phasor.ts';
import { type KeyMomentSource, keyMoment } from '../moments/key-moment.ts';
import { queryEnergy } from '../moments/query-energy.ts';
import type { KeyMethod } from '../ports.ts';

export interface PhasorKeySettings {
  moment: KeyMomentSource;
  field: PhasorField;
  /** 'equal' counts every head's key error alike; 'query' by the energy of the queries that read it. */
  weights: 'equal' | 'query';
}

/**
 * One key per group and exact under RoPE: for each frequency the heads' keys, as complex numbers, are multiples of one.
 * Rank one per frequency is all that ordinary grouped-query attention can hold.
 */
export function phasorKeys({ moment, field, weights }: PhasorKeySettings): KeyMethod {
  return (layer, heads) => {
    const { headDim } = layer.shape;
    const half = headDim / 2;
    const gammas = complexKeyMoments(keyMoment(layer, heads, moment).data, heads.length, headDim);
    const energy = weights === 'query' ? queryEnergy(layer, heads).data : new Float64Array(heads.length * half).fill(1);
    const factors = emptyFactors(heads.length, headDim);
    gammas.forEach((gamma, frequency) => {
      const weightsHere = Float64Array.from(heads, (_, place) => energy[place * half + frequency]!);
      placePhasor(factors, fitPhasor(gamma, weightsHere, field), frequency);
    });
    return factors;
  };
}
