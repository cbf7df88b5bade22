// Runs in Node and in browsers: `transformers` is @huggingface/transformers.
import { processorTime } from './processor-time.mjs';

/**
 * Decoding with transformers.js's own `generate`, greedily, from local files alone: `name` is a folder under `localModelPath` with
 * config.json and model.onnx. As for the others, the context is random numbers in the cache and the first new token is not timed.
 */
export async function openTransformersDecoder(
  transformers,
  { localModelPath, name, shape, context, tokens, device, sessionOptions },
) {
  const { AutoModelForCausalLM, BaseStreamer, DynamicCache, env, Tensor } = transformers;
  Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, useBrowserCache: false, localModelPath });
  const model = await AutoModelForCausalLM.from_pretrained(name, {
    ...{ device, dtype: 'fp32', subfolder: '', model_file_name: 'model', local_files_only: true },
    session_options: { logSeverityLevel: 3, ...sessionOptions },
  });
  const { numLayers, numKeyValueHeads, headDim } = shape;
  const numbers = Float32Array.from({ length: numKeyValueHeads * context * headDim }, () => Math.random() - 0.5);
  const randomCache = () => {
    const names = Array.from({ length: numLayers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat();
    const entry = () => new Tensor('float32', numbers, [1, numKeyValueHeads, context, headDim]);
    return new DynamicCache(Object.fromEntries(names.map((part) => [`past_key_values.${part}`, entry()])));
  };
  return {
    async decode() {
      const cache = randomCache();
      const times = [];
      let processor;
      let calls = 0;
      let last;
      const streamer = new BaseStreamer();
      // Called with the prompt, with the first new token, and with those that are timed.
      streamer.put = () => {
        const now = performance.now();
        if (calls === 1) processor = processorTime();
        if (calls > 1) times.push(now - last);
        calls++;
        last = now;
      };
      streamer.end = () => {};
      await model.generate({
        inputs: new Tensor('int64', new BigInt64Array(context + 1).fill(1n), [1, context + 1]),
        attention_mask: new Tensor('int64', new BigInt64Array(context + 1).fill(1n), [1, context + 1]),
        past_key_values: cache,
        ...{ do_sample: false, max_new_tokens: tokens + 1, eos_token_id: null, streamer },
      });
      const measured = processor?.sinceThen(tokens);
      await cache.dispose();
      return { times, processor: measured };
    },
    close: () => model.dispose(),
  };
}
