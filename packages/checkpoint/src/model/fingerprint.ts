import type { CompressedLayer } from '@kvlr/core';

/**
 * A short name for a set of compressed layers, equal for equal numbers: two FNV-1a hashes of 32 bits over layouts and
 * weights. It tells variants apart within a run; it is no protection against forgery.
 */
export function fingerprint(layers: readonly CompressedLayer[]): string {
  let low = 0x811c9dc5;
  let high = 0x01234567;
  const add = (word: number): void => {
    low = Math.imul(low ^ word, 0x01000193);
    high = Math.imul(high ^ word, 0x01000193) ^ (high >>> 15);
  };
  const addNumbers = (numbers: Float64Array | undefined): void => {
    if (numbers === undefined) {
      add(0x9e3779b9);
      return;
    }
    const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length * 2);
    for (let i = 0; i < words.length; i++) add(words[i]!);
  };
  for (const { layer, layout, weights, latentKeys, rebuiltKeys } of layers) {
    for (const character of JSON.stringify([layer, layout])) add(character.charCodeAt(0));
    for (const numbers of [weights.query, weights.key, weights.value, weights.output]) addNumbers(numbers);
    for (const numbers of [weights.queryBias, weights.keyBias, weights.valueBias, weights.outputBias])
      addNumbers(numbers);
    addNumbers(latentKeys?.encoder);
    addNumbers(latentKeys?.queryEncoder);
    addNumbers(rebuiltKeys?.decoder);
  }
  return [high, low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}
