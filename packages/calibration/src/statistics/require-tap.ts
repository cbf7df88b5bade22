import { KvlrError, type LayerActivations, type TapName } from '@kvlr/core';

/**
 * One tap of a layer, checked: [tokens, width] finite numbers.
 * Throws 'invalid-argument' (absent), 'tensor-shape' and 'non-finite', naming layer and tap.
 */
export function requireTap(activations: LayerActivations, tap: TapName, width: number): Float32Array {
  const { layer, tokens } = activations;
  const rows = activations[tap];
  const data = { layer, tap };
  if (!rows) {
    throw new KvlrError('invalid-argument', {
      message: `collectStatistics: expected the tap '${tap}' of layer ${layer}, got none from the source of activations`,
      data,
    });
  }
  if (rows.length !== tokens * width) {
    throw new KvlrError('tensor-shape', {
      message: `collectStatistics: expected ${tokens} x ${width} numbers of '${tap}' in layer ${layer}, got ${rows.length}`,
      data: { ...data, expected: tokens * width, received: rows.length },
    });
  }
  const place = rows.findIndex((value) => !Number.isFinite(value));
  if (place >= 0) {
    throw new KvlrError('non-finite', {
      message: `collectStatistics: expected finite numbers of '${tap}' in layer ${layer}, got ${rows[place]} at token ${Math.floor(place / width)}`,
      hint: 'Check the weights of this layer for NaN, and try another backend.',
      data,
    });
  }
  return rows;
}
