import { KvlrError, Registry } from '@kvlr/core';
import { type ArchitectureDescriptor, extendArchitecture, type PartialArchitecture } from './architecture.ts';
import llama from './families/llama.json' with { type: 'json' };
import mistral from './families/mistral.json' with { type: 'json' };
import qwen2 from './families/qwen2.json' with { type: 'json' };

const families = [llama, mistral, qwen2] as readonly PartialArchitecture[];

/** The model families that kvlr knows, by name. */
export const architectures = new Registry<ArchitectureDescriptor>({
  kind: 'model family',
  entries: completed(families),
});

/** Descriptions may build on those that stand before them. */
function completed(descriptions: readonly PartialArchitecture[]): Record<string, ArchitectureDescriptor> {
  const known: Record<string, ArchitectureDescriptor> = {};
  for (const description of descriptions) {
    const base = description.like === undefined ? undefined : known[description.like]!;
    const family = base ? extendArchitecture(base, description) : (description as ArchitectureDescriptor);
    known[family.name] = family;
  }
  return known;
}

const normBeforeRotation =
  'normalises queries and keys between their projections and RoPE, so that the keys of several heads have no exact merge';
const headSlopes =
  'has no RoPE but ALiBi, slopes that belong to the numbers of the query heads, and kvlr does not run such a decoder';

/** Why families that people ask for are not run, by model_type. */
const unsupportedFamilies: ReadonlyMap<string, string> = new Map([
  ['bloom', headSlopes],
  ['mpt', headSlopes],
  ['gemma3', normBeforeRotation],
  ['gemma3_text', normBeforeRotation],
  ['olmo2', normBeforeRotation],
  ['qwen3', normBeforeRotation],
]);

/**
 * The family of a config.json's model_type. `additional` families are looked at first. Throws 'unknown-architecture',
 * listing the known ones, and with the reason where a family is known not to fit.
 */
export function findArchitecture(
  modelType: unknown,
  additional: readonly ArchitectureDescriptor[] = [],
): ArchitectureDescriptor {
  const known = [...additional, ...Object.values(architectures.entries)];
  const found = known.find((descriptor) => descriptor.modelTypes.some((name) => name === modelType));
  if (found !== undefined) return found;
  const knownTypes = [...new Set(known.flatMap((descriptor) => descriptor.modelTypes))];
  const reason = unsupportedFamilies.get(String(modelType));
  throw new KvlrError('unknown-architecture', {
    message: `expected one of ${knownTypes.join(', ')}, got ${String(modelType)}`,
    hint:
      reason === undefined
        ? 'Use a checkpoint of a known family, or describe this one in an ArchitectureDescriptor if it is the same decoder under other names.'
        : `Use a checkpoint of a known family: ${String(modelType)} ${reason}.`,
    where: { file: 'config.json', argument: 'model_type' },
    data: { file: 'config.json', received: modelType, known: knownTypes },
  });
}
