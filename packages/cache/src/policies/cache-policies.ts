import { type CachePolicy, Registry, type StandardSchema } from '@kvlr/core';
import { landmarkChunks } from './landmark-chunks.ts';
import { mergeSimilar } from './merge-similar.ts';
import { mostAttended, newestFirst } from './most-attended.ts';
import { mostReconstructing } from './most-reconstructing.ts';
import { retrievalHeads } from './retrieval-heads.ts';
import { spreadByEntropy } from './spread-by-entropy.ts';

/** Every policy that can be asked for by name. */
export const builtInPolicies = {
  sinks: newestFirst,
  snapkv: mostAttended,
  kvmerger: mergeSimilar,
  razor: retrievalHeads,
  uncomp: spreadByEntropy,
  kvzip: mostReconstructing,
  shadowkv: landmarkChunks,
} satisfies Record<string, CachePolicy>;

/** A registry of the built-in policies; with a schema, modules that export a policy can be asked for by path. */
export function policyRegistry(schema?: StandardSchema<CachePolicy>): Registry<CachePolicy> {
  return new Registry({
    kind: 'cache policy',
    entries: builtInPolicies,
    ...(schema && { schema }),
    example: 'Write: export default { title, observedQueries, keep }; see examples/policies/heavy-hitters.mjs.',
  });
}
