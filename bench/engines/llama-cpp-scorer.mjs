import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

/** Text through llama.cpp on the CPU, weights as they are in the file, behind a cache of these types for keys and values. */
export async function openLlamaCppScorer(ggufPath, { keys, values, contextSize }) {
  const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath: ggufPath, gpuLayers: 0, useMmap: false });
  const context = await model.createContext({
    contextSize,
    batchSize: 512,
    // More threads wait for each other by spinning, which is slow on a machine that does other work too.
    threads: 1,
    // Values of fewer bits need it.
    flashAttention: true,
    experimentalKvCacheKeyType: keys.toUpperCase(),
    experimentalKvCacheValueType: values.toUpperCase(),
  });
  const sequence = context.getSequence();
  return {
    /** Mean of the negative logarithms of what each token's successor was expected with, nats. */
    async meanLoss(tokenIds) {
      await sequence.clearHistory();
      const ids = Array.from(tokenIds);
      const asked = ids.slice(0, -1).map((token, position) => {
        const filter = { tokens: [ids[position + 1]], includeTop: 1 };
        return [token, { generateNext: { token: true, totalLogitWeight: true, logits: { filter } } }];
      });
      const outputs = await sequence.controlledEvaluate(asked);
      let sum = 0;
      outputs.forEach(({ next: { logits, totalLogitWeight } }, position) => {
        // The weight is the sum of exp(logit - largest logit).
        const largest = Math.max(...logits.values());
        sum += largest + Math.log(totalLogitWeight) - logits.get(ids[position + 1]);
      });
      return sum / outputs.length;
    },
    async close() {
      await context.dispose();
      await model.dispose();
      await llama.dispose();
    },
  };
}
