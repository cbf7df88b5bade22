import { complexKeyMoments } from '@kvlr/rope';
import { alignPhases } from '../factors/align-phases.ts';
import { emptyFactors, placePhasor } from '../factors/place-phasor.ts';
import { keyMoment } from '../moments/key-moment.ts';
import type { KeyMethod } from '../ports.ts';

/**
 * One key per group: the mean of its heads' keys, after a turn of each head at each frequency that makes them agree. Turns
 * of one frequency commute with RoPE, so nothing else is lost.
 */
export const alignedKeys: KeyMethod = (layer, heads) => {
  const { headDim } = layer.shape;
  const factors = emptyFactors(heads.length, headDim);
  complexKeyMoments(keyMoment(layer, heads, 'activations').data, heads.length, headDim).forEach((gamma, frequency) => {
    placePhasor(factors, alignPhases(gamma), frequency);
  });
  return factors;
};
