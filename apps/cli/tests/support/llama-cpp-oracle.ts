import { getLlama, LlamaLogLevel, type Token } from 'node-llama-cpp';

interface RankedToken {
  tokenId: number;
  logit: number;
  /** Natural logarithm of the token's probability. */
  logProbability: number;
}

/** What llama.cpp expects after a token, given that token and all before it. */
interface NextTokenPrediction {
  /** Most likely token, and the runner-up. */
  first: RankedToken;
  second: RankedToken;
  /** The token that really follows; undefined after the last one. */
  actual: RankedToken | undefined;
}

export interface LlamaCppOracle {
  /**
   * Ids of a text, without special tokens at its ends and without looking for them inside. SentencePiece puts a space before a text:
   * 'whole' keeps it.
   */
  tokenize(text: string, space?: 'whole'): number[];
  /**
   * One prediction per token, each made from the given tokens alone (teacher forcing); positions start at 0.
   * The perplexity of the window is exp(-mean of actual.logProbability).
   */
  predict(tokenIds: ArrayLike<number>): Promise<NextTokenPrediction[]>;
  dispose(): Promise<void>;
}

/**
 * llama.cpp on the CPU with weights as they are in the file, through node-llama-cpp's prebuilt binary.
 * `contextSize`: tokens that it makes room for; the whole context of the model by default. `cache`: the type of keys and values in it; F32 by
 * default, others with flash attention.
 */
export async function openLlamaCppOracle(
  ggufPath: string,
  contextSize?: number,
  cache: 'F32' | 'Q4_0' | 'Q8_0' = 'F32',
): Promise<LlamaCppOracle> {
  const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath: ggufPath, gpuLayers: 0, useMmap: false });
  const context = await model.createContext({
    contextSize: contextSize ?? model.trainContextSize,
    batchSize: 512,
    // More threads wait for each other by spinning, which is slow on a machine that does other work too.
    threads: 1,
    flashAttention: cache !== 'F32',
    experimentalKvCacheKeyType: cache,
    experimentalKvCacheValueType: cache,
  });
  const sequence = context.getSequence();
  return {
    tokenize: (text, space) =>
      model.tokenize(text, false, space === 'whole' ? undefined : 'trimLeadingSpace').map(Number),
    async predict(tokenIds) {
      await sequence.clearHistory();
      const ids = Array.from(tokenIds) as Token[];
      const input = ids.map((token, position): Parameters<typeof sequence.controlledEvaluate>[0][number] => {
        const next = ids[position + 1];
        const filter = { tokens: next === undefined ? [] : [next], includeTop: 2 };
        return [token, { generateNext: { token: true, totalLogitWeight: true, logits: { filter } } }];
      });
      const outputs = await sequence.controlledEvaluate(input);
      return outputs.map((output, position) => readPrediction(output?.next, ids[position + 1]));
    },
    async dispose() {
      await context.dispose();
      await model.dispose();
      await llama.dispose();
    },
  };
}

interface EvaluatedLogits {
  logits?: Map<Token, number>;
  totalLogitWeight?: number;
}

/** `totalLogitWeight` is the sum over the vocabulary of exp(logit - largest logit). */
function readPrediction(next: EvaluatedLogits | undefined, actual: Token | undefined): NextTokenPrediction {
  const { logits, totalLogitWeight } = next ?? {};
  if (logits === undefined || totalLogitWeight === undefined) throw new Error('llama.cpp returned no logits');
  const ranked = [...logits].sort((a, b) => b[1] - a[1]);
  const largest = ranked[0]![1];
  const rank = ([token, logit]: [Token, number]): RankedToken => ({
    tokenId: Number(token),
    logit,
    logProbability: logit - largest - Math.log(totalLogitWeight),
  });
  return {
    first: rank(ranked[0]!),
    second: rank(ranked[1]!),
    actual: actual === undefined ? undefined : rank([actual, logits.get(actual)!]),
  };
}
