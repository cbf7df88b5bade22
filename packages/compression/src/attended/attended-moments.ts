import { type DecoderShape, KvlrError } from '@kvlr/core';
import { type Matrix, SecondMoment, selectBlock } from '@kvlr/linalg';
import { attendedValues, type BlockInputs } from '../measured-error/attended-values.ts';
import { headRows } from '../moments/head-rows.ts';
import type { GroupAttendedMoments, SourceLayer } from '../ports.ts';
import { queryHeadsOf } from '../query-heads.ts';

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
    groups: readonly (readonly number[])[],
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
    for (const { heads, queryHeads, sums } of this.groups) {
      const attended = attendedValues(groupAttention(this.source, heads, queryHeads), this.source.shape, inputs);
      sums.add(sideBySide(attended), inputs.rows.rows);
    }
  }

  moments(): GroupAttendedMoments[] {
    return this.groups.map(({ heads, queryHeads, sums }) => {
      const width = heads.length * this.source.shape.headDim;
      const whole = { rows: sums.width, cols: sums.width, data: sums.secondMoment() };
      const range = (place: number) => Array.from({ length: width }, (_, index) => place * width + index);
      const moments = queryHeads.map((_, h) => queryHeads.map((__, g) => selectBlock(whole, range(h), range(g))));
      return { heads, queryHeads, moments };
    });
  }
}

/** Bytes of one layer's moments. */
export function attendedMomentsBytes(
  shape: Pick<DecoderShape, 'headDim' | 'numAttentionHeads' | 'numKeyValueHeads'>,
  groups: readonly (readonly number[])[],
): number {
  const numbers = groups.map((heads) => (queryHeadsOf(shape, heads).length * heads.length * shape.headDim) ** 2);
  // The sums, and the blocks that are cut from them.
  return 2 * 8 * numbers.reduce((sum, count) => sum + count, 0);
}

/** The query heads of a group as a layer of their own that attends with its own scores to all values of the group. */
function groupAttention({ shape, weights }: SourceLayer, heads: readonly number[], queryHeads: readonly number[]) {
  const { headDim, hiddenSize } = shape;
  const rowsOf = (matrix: Float64Array, which: readonly number[]) => headRows(matrix, which, headDim, hiddenSize).data;
  const biasOf = (bias: Float64Array | undefined, which: readonly number[]) =>
    bias && headRows(bias, which, headDim, 1).data;
  const ascending = [...heads].sort((left, right) => left - right);
  return {
    weights: {
      ...weights,
      query: rowsOf(weights.query, queryHeads),
      key: rowsOf(weights.key, ascending),
      value: rowsOf(weights.value, heads),
      queryBias: biasOf(weights.queryBias, queryHeads),
      keyBias: biasOf(weights.keyBias, ascending),
      valueBias: biasOf(weights.valueBias, heads),
    },
    layout: {
      keySlots: heads.length,
      keySlotWidth: headDim,
      valueSlots: 1,
      valueSlotWidth: heads.length * headDim,
      keys: 'stock' as const,
    },
  };
}

function sideBySide(parts: readonly Matrix[]): Float64Array {
  const { rows, cols } = parts[0]!;
  const whole = new Float64Array(rows * parts.length * cols);
  parts.forEach(({ data }, place) => {
    for (let row = 0; row < rows; row++) {
      whole.set(data.subarray(row * cols, (row + 1) * cols), (row * parts.length + place) * cols);
    }
  });
  return whole;
}

function requireRoom(bytes: number, maximumBytes: number): void {
  if (bytes <= maximumBytes) return;
  const gigabytes = (count: number) => `${(count / 1e9).toFixed(1)} GB`;
  throw new KvlrError('memory-exceeded', {
    message: `AttendedMoments: expected moments of at most ${gigabytes(maximumBytes)} a layer, got ${gigabytes(bytes)}`,
    hint: 'Use smaller groups, raise the limit, or take rope-averaged, whose values need no moments of groups.',
    data: { bytes, maximumBytes },
  });
}
