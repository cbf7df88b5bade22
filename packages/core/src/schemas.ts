import { z } from 'zod';

export {
  budgetPolicySchema,
  cacheCodecSchema,
  cachePolicySchema,
  groupingStrategySchema,
  keyPluginSchema,
  methodPluginSchema,
  valuePluginSchema,
} from './schemas/plugins.ts';

/** How the second moments are gathered. */
const calibrationSchema = z.strictObject({
  /** Windows sampled from the calibration text. */
  windows: z.int().min(1).default(48),
  /** Tokens a window. */
  windowLength: z.int().min(2).default(512),
  seed: z.int().min(0).default(0),
});

/** Training of all attention projections together, towards the original's next-token distribution. */
const distillationSchema = z.strictObject({
  /** Sized in tokens: 'light' 65,536, 'full' 299,520. */
  preset: z.enum(['light', 'full']).default('full'),
  /** Windows of calibration text that the steps are taken on. Default: one for each place in a step, or all there are. */
  trainingWindows: z.int().min(1).optional(),
  /** Windows that decide which values are taken and when to stop. Default: those of the reconstruction, or 8. */
  heldOutWindows: z.int().min(1).optional(),
  /** Tokens a window. */
  windowLength: z.int().min(2).default(512),
  /** Tokens at most of the pieces that training windows are cut into; held-out windows stay whole. */
  pieceLength: z.int().min(2).optional(),
  steps: z.int().min(1).optional(),
  piecesPerStep: z.int().min(1).optional(),
  /** Pieces that are run at the same time; gradients are accumulated over them. 0: all of a step. */
  piecesAtOnce: z.int().min(0).optional(),
  /** Highest learning rate, as a share of the root mean square of each weight matrix. */
  learningRate: z.number().positive().optional(),
  warmupSteps: z.int().min(0).optional(),
  /** How much longer the steps of queries and keys are than those of the other projections. */
  scoreStep: z.number().positive().optional(),
  /** How much longer the steps of feed-forward matrices are, where they are trained. Default 1. */
  feedForwardStep: z.number().positive().optional(),
  weightDecay: z.number().min(0).optional(),
  /** Gradients with a greater norm are shortened to it; 0: never. */
  clipNorm: z.number().min(0).optional(),
  /** What is trained, by LLaMA's names. Default: q, k, v and o. */
  targets: z
    .array(z.enum(['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']))
    .min(1)
    .optional(),
  /** Rank of the adapters (LoRA) that are trained and then merged; 0 trains the matrices themselves. */
  adapterRank: z.int().min(0).optional(),
  /** What adapters give is multiplied by adapterAlpha / adapterRank; 0 stands for the rank. */
  adapterAlpha: z.number().min(0).optional(),
  /** Share of what adapters read that is left out at every step. */
  adapterDropout: z.number().min(0).lt(1).optional(),
  /** Share of the text's own next token in the target, the rest being the original's distribution. */
  nextTokenShare: z.number().min(0).max(1).optional(),
  /** Both distributions are softmax(logits / temperature). */
  temperature: z.number().positive().optional(),
  /** Weight of the distance of the streams between layers from the original's. */
  hiddenWeight: z.number().min(0).optional(),
  /** Likeliest tokens of the original that are kept on disk, so that it is not in memory; 0: it is, with all of them. */
  topTokens: z.int().min(0).optional(),
  /** How much of their running mean the trained values keep at every step; 0: no mean. */
  averageDecay: z.number().min(0).lt(1).optional(),
  /** Steps between two looks at the held-out windows, each of which saves a checkpoint. */
  evaluateEvery: z.int().min(1).optional(),
  /** Steps between two checkpoints besides; 0: none. */
  checkpointEvery: z.int().min(0).optional(),
  /** Looks without a new best after which training stops. */
  patience: z.int().min(1).optional(),
});

/** What happens to the layers after the closed forms. A setting that is given replaces the preset's. */
const recoverySchema = z.strictObject({
  /**
   * 'none' keeps the closed forms; 'refit' solves for every output projection anew, in seconds; 'light' and 'full' reconstruct
   * every block with fewer or more steps; 'auto' is light, and full where less than a quarter of the cache is kept.
   */
  preset: z.enum(['none', 'refit', 'light', 'full', 'auto']).default('auto'),
  /** Windows of calibration text that the steps are taken on. */
  trainingWindows: z.int().min(1).optional(),
  /** Windows of calibration text that decide when to stop and are never trained on. */
  heldOutWindows: z.int().min(1).optional(),
  /** Tokens a window. */
  windowLength: z.int().min(2).default(512),
  /** Whether the output projection is moved to its least-squares optimum, in closed form. */
  refitOutput: z.boolean().optional(),
  /** Adam steps a layer; 0 leaves it at the closed form. */
  steps: z.int().min(0).optional(),
  /** Highest learning rate, as a share of the root mean square of each weight matrix, times the root of the error at the start. */
  learningRate: z.number().positive().optional(),
  /** Steps over which the learning rate rises. */
  warmupSteps: z.int().min(0).optional(),
  windowsPerStep: z.int().min(1).optional(),
  /** Steps between two looks at the held-out windows. */
  evaluateEvery: z.int().min(1).optional(),
  seed: z.int().min(0).default(0),
  /** How much longer the steps of queries and keys are than those of values and outputs. Default 2. */
  scoreStep: z.number().positive().optional(),
  /** End-to-end training behind the reconstruction. Absent: none. */
  distillation: distillationSchema.optional(),
});

/** How much of its cache each layer keeps. The total is that of `keyValueHeads` in every layer. */
const budgetSchema = z.strictObject({
  /** Name of a budget policy, or the path of an ES module that exports one. */
  policy: z.string().min(1).default('uniform'),
  /** Windows of calibration text, apart from those of the statistics, on which policies that measure do so. */
  windows: z.int().min(1).default(8),
  /** Tokens a window; all but the first are predicted. */
  windowLength: z.int().min(2).default(257),
  /** Seed by which these windows are sampled. */
  seed: z.int().min(0).default(0),
});

/** Name of a method whose part is taken, or the path of an ES module that exports one. */
const methodPart = z.string().min(1);

/** A compression method by name or path, or put together of its two sides. */
const methodSchema = z.union([
  z.string().min(1),
  /** Keys by a key method: factors of each group, folded into stock attention. */
  z.strictObject({ keys: methodPart, values: methodPart }),
  /** Keys by a RoPE strategy, which decides how the rotated keys of a whole layer lie in the cache. */
  z.strictObject({ ropeStrategy: methodPart, values: methodPart }),
]);

/** On what the result is evaluated. */
const evaluationSchema = z.strictObject({
  /** Windows taken from the start of each source of text; 0: the result is not evaluated. */
  windowsPerSource: z.int().min(0).default(24),
  /** Tokens a window; all but the first are predicted. */
  windowLength: z.int().min(2).default(513),
});

/** What was compressed, recorded beside a recipe that was run. Not read when the recipe is used again. */
const recipeSourceSchema = z.strictObject({
  modelId: z.string(),
  /** As it was named for the run: a hub id, 'embedded' for the embedded model, a path. */
  location: z.string(),
  calibrationHash: z.string(),
  /** Hashes of the modules that `grouping`, `method` and `budget` name by path. */
  groupingHash: z.string().optional(),
  methodHash: z.string().optional(),
  budgetHash: z.string().optional(),
});

/** Everything that decides a compression's result, as `recipe.yaml` holds it. Missing entries take their defaults. */
export const recipeSchema = z.strictObject({
  version: z.literal(1).default(1),
  method: methodSchema.default('rope-averaged-received'),
  /** KV heads of the result: a count, or the share of the source's cache that they take. */
  keyValueHeads: z.union([z.int().min(1), z.strictObject({ keep: z.number().gt(0).max(1) })]).default({ keep: 0.5 }),
  /**
   * Width of the result's heads in widths of the source's: a share of the cache is then kept in fewer and wider heads, at the price
   * of more parameters and arithmetic. 'auto': where a share is given, the widest that adds at most a tenth to the parameters.
   */
  headWidth: z.union([z.int().min(1), z.literal('auto')]).default('auto'),
  /** Name of a grouping strategy, or the path of an ES module that exports one. */
  grouping: z.string().min(1).default('contiguous'),
  budget: budgetSchema.prefault({}),
  calibration: calibrationSchema.prefault({}),
  recovery: recoverySchema.prefault({}),
  /**
   * 'balanced': every pair of numbers of a key is scaled as its queries are, and these inversely: the same scores, and less loss in caches
   * that store keys in blocks, such as llama.cpp's.
   */
  keyScales: z.enum(['as-is', 'balanced']).default('as-is'),
  /** Element type of the tensors that are replaced; the others are copied as they are. */
  dtype: z.enum(['source', 'F32', 'F16', 'BF16']).default('source'),
  evaluation: evaluationSchema.prefault({}),
  source: recipeSourceSchema.optional(),
});

export type Recipe = z.output<typeof recipeSchema>;
export type RecipeInput = z.input<typeof recipeSchema>;
