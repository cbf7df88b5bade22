// Runs in Node and in browsers.
import { prepareDecode } from '@kvlr/benchmark';
import { loadModel } from '@kvlr/runtime';
import { processorTime } from './processor-time.mjs';

/** Decoding with kvlr's `generate` behind a cache of random entries, weights and cache in float32. */
export async function openKvlrDecoder(source, { backend, wasmPaths, context, tokens }) {
  const model = await loadModel(source, { backend, wasmPaths, weights: 'f32' });
  const subject = await prepareDecode(model, { context, tokens, batch: 1, dtype: 'f32', seed: 0 });
  return {
    async decode() {
      const processor = processorTime();
      const times = await subject.measure();
      // One more token than those that are timed.
      return { times, processor: processor?.sinceThen(times.length + 1) };
    },
    async close() {
      subject.dispose();
      model.dispose();
    },
  };
}
