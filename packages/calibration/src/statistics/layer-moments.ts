import type { DecoderShape, LayerActivations, LayerStatistics, TapName } from '@kvlr/core';
import { SecondMoment } from '@kvlr/linalg';
import { rotate } from '@kvlr/rope';
import { requireTap } from './require-tap.ts';

/** The taps that `LayerMoments` reads. */
export const momentTaps: readonly TapName[] = ['blockInput', 'query', 'key', 'value', 'attended'];

/** Gathers one layer's second moments from window after window. */
export class LayerMoments {
  private readonly input: SecondMoment;
  private readonly key: SecondMoment;
  private readonly rotatedKey: SecondMoment;
  private readonly value: SecondMoment;
  private readonly attended: SecondMoment;
  /** One for each query head. */
  private readonly queries: SecondMoment[];
  private readonly rotatedQueries: SecondMoment[];

  /** @param frequencies RoPE's radians per position, [headDim / 2]. */
  constructor(
    private readonly shape: DecoderShape,
    private readonly layer: number,
    private readonly frequencies: Float64Array,
  ) {
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = shape;
    const { valueSlots, valueSlotWidth } = shape.layers[layer]!;
    const perHead = () => Array.from({ length: numAttentionHeads }, () => new SecondMoment(headDim));
    this.input = new SecondMoment(hiddenSize);
    this.key = new SecondMoment(numKeyValueHeads * headDim);
    this.rotatedKey = new SecondMoment(numKeyValueHeads * headDim);
    this.value = new SecondMoment(valueSlots * valueSlotWidth);
    this.attended = new SecondMoment(numAttentionHeads * valueSlotWidth);
    this.queries = perHead();
    this.rotatedQueries = perHead();
  }

  /** Adds the tokens of one window, whose positions start at 0. */
  add(activations: LayerActivations): void {
    const { tokens } = activations;
    const { numAttentionHeads, numKeyValueHeads } = this.shape;
    const read = (tap: TapName, moment: SecondMoment) => requireTap(activations, tap, moment.width);
    const key = read('key', this.key);
    const query = requireTap(activations, 'query', numAttentionHeads * this.shape.headDim);
    this.input.add(read('blockInput', this.input), tokens);
    this.key.add(key, tokens);
    this.rotatedKey.add(this.rotateHeads(key, tokens, numKeyValueHeads), tokens);
    this.value.add(read('value', this.value), tokens);
    this.attended.add(read('attended', this.attended), tokens);
    addHeads(this.queries, query, tokens);
    addHeads(this.rotatedQueries, this.rotateHeads(query, tokens, numAttentionHeads), tokens);
  }

  statistics(): LayerStatistics {
    return {
      layer: this.layer,
      tokenCount: this.input.count,
      inputSecondMoment: this.input.secondMoment(),
      inputMean: this.input.mean(),
      keySecondMoment: this.key.secondMoment(),
      keyMean: this.key.mean(),
      rotatedKeySecondMoment: this.rotatedKey.secondMoment(),
      rotatedKeyMean: this.rotatedKey.mean(),
      valueSecondMoment: this.value.secondMoment(),
      valueMean: this.value.mean(),
      querySecondMoment: concatenate(this.queries.map((head) => head.secondMoment())),
      rotatedQuerySecondMoment: concatenate(this.rotatedQueries.map((head) => head.secondMoment())),
      attendedSecondMoment: this.attended.secondMoment(),
      attendedMean: this.attended.mean(),
    };
  }

  private rotateHeads(rows: Float32Array, tokens: number, heads: number): Float32Array {
    const { headDim } = this.shape;
    return rotate(rows, { tokens, heads, headDim, frequencies: this.frequencies, firstPosition: 0 });
  }
}

/** Adds to each head's moments its columns of rows that hold the heads side by side. */
function addHeads(heads: readonly SecondMoment[], rows: Float32Array, tokens: number): void {
  const width = heads.length * heads[0]!.width;
  const slice = new Float32Array(tokens * heads[0]!.width);
  heads.forEach((moment, head) => {
    const headDim = moment.width;
    for (let token = 0; token < tokens; token++) {
      const start = token * width + head * headDim;
      slice.set(rows.subarray(start, start + headDim), token * headDim);
    }
    moment.add(slice, tokens);
  });
}

function concatenate(parts: readonly Float64Array[]): Float64Array {
  const whole = new Float64Array(parts.reduce((length, part) => length + part.length, 0));
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}
