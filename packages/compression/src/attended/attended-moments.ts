import {
  type DecoderShape,
  type HeadCounts,
  type HeadGroups,
  KvlrError,
  keyValueHeadOf,
  queryHeadsOf,
} from '@kvlr/core';
import { hstack, SecondMoment, selectTiles } from '@kvlr/linalg';
import type { GroupAttendedMoments, SourceLayer } from '../source-layer.ts';
import { attendHead, type BlockInputs, headVectors, scoringOf, stockAttention } from './attention.ts';

/** Memory that is taken without being asked for more: the default of `AttendedMoments`. */
const defaultBytes = 2 ** 31;

/**
 * Gathers, for the groups of one layer, the second moments of attended group values u_h = sum_n a_h(n) v_S(n) over the
 * windows that it is given: what value factors by alternating least squares need besides the weights. They depend on the
 * grouping, so they take a pass of their own. Numbers per group: (n*t*D)^2, n the query heads of the group.
 */
export class AttendedMoments {
  private readonly groups: { heads: readonly number[]; queryHeads: number[]; sums: SecondMoment }[];

  /** @throws KvlrError 'memory-exceeded' when the moments would take more than `maximumBytes`. */
  constructor(
    private readonly source: SourceLayer,
    groups: HeadGroups,
    maximumBytes = defaultBytes,
  ) {
    const { shape } = source;
    requireRoom(attendedMomentsBytes(shape, groups), maximumBytes);
    this.groups = groups.map((heads) => {
      const queryHeads = queryHeadsOf(shape, heads);
      return { heads, queryHeads, sums: new SecondMoment(queryHeads.length * heads.length * shape.headDim) };
    });
  }

  /** Adds windows of the block's normed inputs. */
  add(inputs: BlockInputs): void {
    const { queries, keys, values } = headVectors(stockAttention(this.source), this.source, inputs);
    for (const { heads, queryHeads, sums } of this.groups) {
      // Every query head attends with its own scores to all values of the group.
      const together = hstack(...heads.map((head) => values[head]!));
      const attended = queryHeads.map((queryHead) => {
        const key = keys[keyValueHeadOf(this.source.shape, queryHead)]!;
        return attendHead(queries[queryHead]!, key, together, scoringOf(this.source, queryHead, inputs.tokens));
      });
      sums.add(hstack(...attended).data, inputs.rows.rows);
    }
  }

  moments(): GroupAttendedMoments[] {
    return this.groups.map(({ heads, queryHeads, sums }) => {
      const width = heads.length * this.source.shape.headDim;
      const whole = sums.secondMoment();
      const moments = queryHeads.map((_, h) => queryHeads.map((__, g) => selectTiles(whole, width, [h], [g])));
      return { heads, queryHeads, moments };
    });
  }
}

/** Bytes of one layer's moments. */
export function attendedMomentsBytes(shape: HeadCounts & Pick<DecoderShape, 'headDim'>, groups: HeadGroups): number {
  const numbers = groups.map((heads) => (queryHeadsOf(shape, heads).length * heads.length * shape.headDim) ** 2);
  // The sums, and the blocks that are cut from them.
  return 2 * 8 * numbers.reduce((sum, count) => sum + count, 0);
}

function requireRoom(bytes: number, maximumBytes: number): void {
  if (bytes <= maximumBytes) return;
  const gigabytes = (count: number) => `${(count / 1e9).toFixed(1)} GB`;
  throw new KvlrError('memory-exceeded', {
    message: `expected moments of at most ${gigabytes(maximumBytes)} a layer, got ${gigabytes(bytes)}`,
    hint: 'Use smaller groups, raise the limit, or take rope-averaged, whose values need no moments of groups.',
    data: { bytes, maximumBytes },
  });
}
