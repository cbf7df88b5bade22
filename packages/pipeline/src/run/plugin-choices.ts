import {
  budgetPolicies as builtInPolicies,
  type CompressionMethod,
  compressionMethods,
  type KeyPlugin,
  type MethodPlugin,
  mergeCosts,
  type NamedBudget,
  type ValuePlugin,
} from '@kvlr/compression';
import { type BudgetPolicy, type GroupingStrategy, Registry, type StandardSchema } from '@kvlr/core';
import {
  budgetPolicySchema,
  groupingStrategySchema,
  keyPluginSchema,
  methodPluginSchema,
  valuePluginSchema,
} from '@kvlr/core/schemas';
import { type NamedGrouping, namedGroupings } from '@kvlr/grouping';

/** The groupings that can be asked for by name, a search for each of the costs that compression knows, or by path. */
export const groupingStrategies = new Registry<NamedGrouping>({
  kind: 'grouping strategy',
  entries: namedGroupings(mergeCosts, 'lost-energy'),
  // What a strategy of one's own reads is not known, so it may ask for everything.
  schema: groupingStrategySchema.transform((strategy) => ({
    strategy,
    description: 'A strategy of your own',
    needsStatistics: true,
    needsWeights: true,
    needsMeasurement: true,
  })),
  example:
    'Write: export default ({ numKeyValueHeads, wanted }) => [[...], ...]; see examples/grouping/interleaved.mjs.',
});

/** The budgets that can be asked for by name or path. */
export const budgetPolicies = new Registry<NamedBudget>({
  kind: 'budget policy',
  entries: builtInPolicies.entries,
  schema: budgetPolicySchema.transform((policy) => ({
    policy,
    description: 'A policy of your own',
    needs: 'measurement' as const,
  })),
  example: 'Write: export default ({ shape, uniform, total, candidates }) => [...]; see examples/budgets/taper.mjs.',
});

// Schemas know that functions are functions, and the ports know what they take and give.
const asSchema = <Plugin>(schema: unknown) => schema as StandardSchema<Plugin>;

/** Whole methods by name, or the descriptions that modules give. */
export const methodPlugins = new Registry<MethodPlugin>({
  kind: 'compression method',
  entries: compressionMethods.entries,
  schema: asSchema<MethodPlugin>(methodPluginSchema),
  example: 'Write: export default { title, keyFactors, values }; see examples/methods/strongest-head.mjs.',
});

/** Methods whose keys are taken, by name, or modules that give keys: factors of a group before RoPE. */
export const keyMethods = new Registry<KeyPlugin>({
  kind: 'key method',
  entries: compressionMethods.entries,
  schema: asSchema<KeyPlugin>(keyPluginSchema),
  example: 'Write: export default (layer, heads) => ({ encoder, decoders }); see examples/keys/strongest-pairs.mjs.',
});

/** The same, where modules give the keys of a whole layer. */
export const ropeStrategies = new Registry<KeyPlugin>({
  kind: 'RoPE strategy',
  entries: compressionMethods.entries,
  schema: asSchema<KeyPlugin>(keyPluginSchema),
  example:
    'Write: export default (layer, groups) => ({ kind, query, key, keySlots, keySlotWidth }); see examples/rope-strategies/strongest-coordinates.mjs.',
});

/** Methods whose values are taken, by name, or modules that give values. */
export const valueMethods = new Registry<ValuePlugin>({
  kind: 'value method',
  entries: compressionMethods.entries,
  schema: asSchema<ValuePlugin>(valuePluginSchema),
  example:
    'Write: export default (layer, heads, width) => ({ encoder, decoders }); see examples/values/strongest-coordinates.mjs.',
});

/** A grouping strategy of the caller's own, instead of one named in the recipe. */
export interface GroupingChoice {
  strategy: GroupingStrategy;
  /** Hash of what decides its answers, for example of its source file: a changed strategy is asked again. */
  hash: string;
}

/** A budget policy of the caller's own, instead of one named in the recipe. */
export interface BudgetChoice {
  policy: BudgetPolicy;
  /** Hash of what decides its answers, for example of its source file: a changed policy is asked again. */
  hash: string;
}

/** A compression method of the caller's own, instead of one named in the recipe. */
export interface MethodChoice {
  method: CompressionMethod;
  /** Hash of what decides its factors, for example of its source file: they are computed again when it changes. */
  hash: string;
}
