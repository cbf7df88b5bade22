import type { DecoderShape } from '@kvlr/core';
import type { Matrix } from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';
import { keyValueHeadOf } from '../query-heads.ts';

/** Decoder that each source query head carries: that of the KV head it reads. */
export function decoderLookup(
  shape: DecoderShape,
  groups: readonly (readonly number[])[],
  factors: readonly GroupFactors[],
): (queryHead: number) => Matrix {
  const decoderOfHead: Matrix[] = [];
  groups.forEach((heads, group) => {
    heads.forEach((head, place) => {
      decoderOfHead[head] = factors[group]!.decoders[place]!;
    });
  });
  return (queryHead) => decoderOfHead[keyValueHeadOf(shape, queryHead)]!;
}
