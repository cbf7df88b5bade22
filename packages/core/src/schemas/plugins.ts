import { z } from 'zod';
import type { BudgetPolicy } from '../plugins/budget-policy.ts';
import type { GroupingStrategy } from '../plugins/grouping-strategy.ts';

/** A function, whatever it takes: what it gives is checked when it is called. */
const functionSchema = <Port>() =>
  z.custom<Port>((value) => typeof value === 'function', {
    error: ({ input }) => `expected a function, got ${input === undefined ? 'none' : typeof input}`,
  });

/** What the modules of grouping strategies and budget policies export by default. */
export const groupingStrategySchema = functionSchema<GroupingStrategy>();
export const budgetPolicySchema = functionSchema<BudgetPolicy>();

/** A function, or the name of a method whose part is taken. */
const partSchema = z.union([functionSchema<unknown>(), z.string()], {
  error: ({ input }) =>
    `expected a function or the name of a method, got ${input === undefined ? 'none' : typeof input}`,
});

const sideFields = {
  title: z.string().min(1).optional(),
  source: z.string().optional(),
  needsStatistics: z.boolean().optional(),
  wideHeads: z.object({ keys: z.boolean().optional(), values: z.boolean().optional() }).optional(),
};

const keyFields = {
  portable: z.boolean().optional(),
  freeRanks: z.object({ basis: z.enum(['layer', 'group']), stage: z.enum(['rotated', 'projected']) }).optional(),
  keys: partSchema.optional(),
  keyFactors: functionSchema<unknown>().optional(),
  layout: z
    .undefined({ error: 'this field is called portable now: true where any engine can run the result' })
    .optional(),
};

const valueFields = {
  valueSlots: z.enum(['group', 'head']).optional(),
  needsAttendedMoments: z.boolean().optional(),
  values: partSchema,
};

/** Keys come from a strategy for the whole layer or from factors of each group. */
const oneOfKeys = <Schema extends z.ZodType<{ keys?: unknown; keyFactors?: unknown }>>(schema: Schema) =>
  schema.superRefine(({ keys, keyFactors }, context) => {
    if ((keys === undefined) !== (keyFactors === undefined)) return;
    const received = keys === undefined ? 'none' : 'both';
    context.addIssue({ code: 'custom', path: ['keys'], message: `expected keys or keyFactors, got ${received}` });
  });

/** What the module of a compression method exports by default: an object that describes it. */
export const methodPluginSchema = oneOfKeys(
  z.looseObject({
    ...sideFields,
    ...keyFields,
    ...valueFields,
    title: z.string().min(1),
    description: z.string().optional(),
  }),
);

/** The same for modules that give keys alone, or values alone. */
export const keyPluginSchema = oneOfKeys(z.looseObject({ ...sideFields, ...keyFields }));
export const valuePluginSchema = z.looseObject({ ...sideFields, ...valueFields });

const sideFormatSchema = z.looseObject({
  blockTokens: z.int().min(1).max(32),
  keys: z.enum(['rotated', 'projected']),
  needsStatistics: z.boolean().default(false),
  needsSamples: z.boolean().optional(),
  byteLength: functionSchema<unknown>(),
  tableBytes: functionSchema<unknown>().optional(),
  refuse: functionSchema<unknown>().optional(),
  create: functionSchema<unknown>(),
});

/** What the module of a cache policy exports by default. */
export const cachePolicySchema = z
  .looseObject({
    title: z.string().min(1),
    source: z.string().optional(),
    observedQueries: z.int().min(0).max(32),
    countsTokens: z.boolean().optional(),
    readsAgain: z.boolean().optional(),
    keep: functionSchema<unknown>(),
    spread: functionSchema<unknown>().optional(),
    fetches: z
      .looseObject({ chunkTokens: z.literal([1, 2, 4, 8, 16, 32]), choose: functionSchema<unknown>() })
      .optional(),
  })
  .refine(({ readsAgain, fetches }) => !(readsAgain && fetches), {
    error:
      'expected readsAgain or fetches, got both: what reads texts again drops tokens, and what fetches values drops none',
  });

/** What the module of a cache codec exports by default. */
export const cacheCodecSchema = z.looseObject({
  title: z.string().min(1),
  source: z.string().optional(),
  keys: sideFormatSchema,
  values: sideFormatSchema,
});
