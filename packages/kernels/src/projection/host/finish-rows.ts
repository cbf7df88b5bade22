import type { Activation } from '../projection.ts';
import { activate } from './activate.ts';

/** Adds the bias [rows] and the residual [tokens, rows] to the products [tokens, rows] in place. */
export function addToRows(result: Float32Array, rows: number, bias?: Float32Array, residual?: Float32Array): void {
  if (residual) {
    for (let place = 0; place < result.length; place++) result[place]! += residual[place]!;
  }
  if (bias) {
    for (let start = 0; start < result.length; start += rows) {
      for (let row = 0; row < rows; row++) result[start + row]! += bias[row]!;
    }
  }
}

/** result = activation(result) * paired, in place. */
export function gateRows(result: Float32Array, paired: Float32Array, activation: Activation): void {
  const apply = activate[activation];
  for (let place = 0; place < result.length; place++) result[place] = apply(result[place]!) * paired[place]!;
}
