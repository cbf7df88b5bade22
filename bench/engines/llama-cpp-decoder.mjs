import { getLlama, LlamaLogLevel } from 'node-llama-cpp';
import { processorTime } from './processor-time.mjs';

/**
 * Decoding with llama.cpp on the CPU, greedily, weights and cache in F32. Its cache cannot be filled from outside: a random prompt
 * is run before every turn and not timed.
 */
export async function openLlamaCppDecoder(ggufPath, { context, tokens, threads, vocabSize }) {
  const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath: ggufPath, gpuLayers: 0, useMmap: false });
  const session = await model.createContext({
    contextSize: context + tokens + 2,
    batchSize: 512,
    ...(threads !== undefined && { threads }),
    flashAttention: false,
    experimentalKvCacheKeyType: 'F32',
    experimentalKvCacheValueType: 'F32',
  });
  const sequence = session.getSequence();
  const prompt = Array.from({ length: context + 1 }, () => 3 + Math.floor(Math.random() * (vocabSize - 3)));
  return {
    async decode() {
      await sequence.clearHistory();
      const times = [];
      let started = performance.now();
      let processor;
      for await (const _ of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
        // The first token comes with the prompt.
        if (processor === undefined) processor = processorTime();
        else times.push(performance.now() - started);
        if (times.length === tokens) break;
        started = performance.now();
      }
      return { times, processor: processor.sinceThen(times.length) };
    },
    async close() {
      await session.dispose();
      await model.dispose();
      await llama.dispose();
    },
  };
}
