// Runs in Node and in browsers.
import { prepareDecode, timePrefill } from '@kvlr/benchmark';
import { loadModel } from '@kvlr/runtime';
import { processorTime } from './processor-time.mjs';

/** Decoding with kvlr's `generate` behind a cache of random entries, weights and cache in float32 if nothing else is said. */
export async function openKvlrDecoder(source, { backend, wasmPaths, context, tokens, dtype = 'f32' }) {
  const model = await loadModel(source, { backend, wasmPaths, weights: dtype });
  const subject = await prepareDecode(model, { context, tokens, batch: 1, dtype, seed: 0 });
  return {
    async decode() {
      const processor = processorTime();
      const times = await subject.measure();
      // One more token than those that are timed.
      return { times, processor: processor?.sinceThen(times.length + 1) };
    },
    /** Milliseconds of a prompt from an empty cache to the token behind it. */
    prefill: (promptTokens) => timePrefill(model, { promptTokens, batch: 1, dtype, seed: 0 }),
    async close() {
      subject.dispose();
      model.dispose();
    },
  };
}
