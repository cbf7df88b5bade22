import { alignRotations } from '../factors/align-rotations.ts';
import { valueMoment } from '../moments/value-moment.ts';
import type { ValueMethod } from '../ports.ts';

/** One value per group: the mean of its heads' values, after an orthogonal map of each head that makes them agree. */
export const alignedValues: ValueMethod = (layer, heads) =>
  alignRotations(valueMoment(layer, heads, 'activations'), layer.shape.headDim);
