// Runs in Node and in browsers.
import { prepareDecode } from '@kvlr/benchmark';
import { loadModel } from '@kvlr/runtime';

/** Decoding with kvlr's `generate` behind a cache of random entries, weights and cache in float32. Times in milliseconds. */
export async function openKvlrDecoder(source, { backend, wasmPaths, context, tokens }) {
  const model = await loadModel(source, { backend, wasmPaths, weights: 'f32' });
  const subject = await prepareDecode(model, { context, tokens, batch: 1, dtype: 'f32', seed: 0 });
  return {
    decode: () => subject.measure(),
    async close() {
      subject.dispose();
      model.dispose();
    },
  };
}
