import { KvlrError } from '@kvlr/core';
import type { ArchitectureDescriptor } from './architecture-descriptor.ts';
import llama from './llama.json' with { type: 'json' };
import mistral from './mistral.json' with { type: 'json' };
import qwen2 from './qwen2.json' with { type: 'json' };
import { unsupportedFamilies } from './unsupported-families.ts';

/** The model families that kvlr knows. */
export const architectures = [llama, mistral, qwen2] as readonly ArchitectureDescriptor[];

/**
 * The family of a config.json's model_type. `additional` families are looked at first. Throws 'unknown-architecture',
 * listing the known ones, and with the reason where a family is known not to fit.
 */
export function findArchitecture(
  modelType: unknown,
  additional: readonly ArchitectureDescriptor[] = [],
): ArchitectureDescriptor {
  const known = [...additional, ...architectures];
  const found = known.find((descriptor) => descriptor.modelTypes.some((name) => name === modelType));
  if (found !== undefined) return found;
  const knownTypes = [...new Set(known.flatMap((descriptor) => descriptor.modelTypes))];
  const reason = unsupportedFamilies.get(String(modelType));
  throw new KvlrError('unknown-architecture', {
    message: `findArchitecture: config.json: expected model_type to be one of ${knownTypes.join(', ')}, got ${String(modelType)}`,
    hint:
      reason === undefined
        ? 'Use a checkpoint of a known family, or describe this one in an ArchitectureDescriptor if it is the same decoder under other names.'
        : `Use a checkpoint of a known family: ${String(modelType)} ${reason}.`,
    data: { file: 'config.json', received: modelType, known: knownTypes },
  });
}
