import { differenceByRange, oracleLogits } from '@kvlr/testkit';
import { expect } from 'vitest';
import { caseTokenIds, type DecoderCase, runDecoderCase } from './decoder-cases.ts';
import { dequantisedModel } from './dequantised-model.ts';

/**
 * Compares what `runDecoderCase` returned, by the range of the logits: within 1e-4 of the Float64 decoder on the weights that packing
 * leaves, within 2e-2 of it on the weights themselves where they or the cache are f16, and with a packed cache within 1e-4 of plain
 * JavaScript, whose cache is tested entry by entry elsewhere.
 */
export async function expectCaseLogits(given: DecoderCase, received: number[]): Promise<void> {
  const { source, weights, cacheDtype } = given;
  const lastRows = (logits: Float64Array) => logits.subarray(logits.length - received.length);
  const dequantised = dequantisedModel(source, weights);
  const expected =
    cacheDtype === 'f32'
      ? lastRows(await oracleLogits(dequantised, caseTokenIds))
      : (await runDecoderCase(given, 'cpu')).logits;
  expect(differenceByRange(received, expected)).toBeLessThan(1e-4);
  if (weights === 'f16' || cacheDtype === 'f16') {
    expect(differenceByRange(received, lastRows(await oracleLogits(source, caseTokenIds)))).toBeLessThan(2e-2);
  }
}
