import { KvlrError, Registry } from '@kvlr/core';
import { type ArchitectureDescriptor, extendArchitecture, type PartialArchitecture } from './architecture.ts';
import bloom from './families/bloom.json' with { type: 'json' };
import cohere from './families/cohere.json' with { type: 'json' };
import falcon from './families/falcon.json' with { type: 'json' };
import gemma from './families/gemma.json' with { type: 'json' };
import gemma2 from './families/gemma2.json' with { type: 'json' };
import gemma3Text from './families/gemma3_text.json' with { type: 'json' };
import gptNeox from './families/gpt_neox.json' with { type: 'json' };
import gpt2 from './families/gpt2.json' with { type: 'json' };
import gptj from './families/gptj.json' with { type: 'json' };
import granite from './families/granite.json' with { type: 'json' };
import llama from './families/llama.json' with { type: 'json' };
import mistral from './families/mistral.json' with { type: 'json' };
import mpt from './families/mpt.json' with { type: 'json' };
import olmo from './families/olmo.json' with { type: 'json' };
import olmo2 from './families/olmo2.json' with { type: 'json' };
import olmo3 from './families/olmo3.json' with { type: 'json' };
import opt from './families/opt.json' with { type: 'json' };
import phi from './families/phi.json' with { type: 'json' };
import phi3 from './families/phi3.json' with { type: 'json' };
import qwen2 from './families/qwen2.json' with { type: 'json' };
import qwen3 from './families/qwen3.json' with { type: 'json' };
import smollm3 from './families/smollm3.json' with { type: 'json' };
import stablelm from './families/stablelm.json' with { type: 'json' };
import starcoder2 from './families/starcoder2.json' with { type: 'json' };

/** A family may build on those that stand before it. */
const families = [
  llama,
  mistral,
  qwen2,
  qwen3,
  smollm3,
  phi3,
  phi,
  olmo,
  olmo2,
  olmo3,
  stablelm,
  gemma,
  gemma2,
  gemma3Text,
  granite,
  starcoder2,
  cohere,
  gptNeox,
  gpt2,
  gptj,
  opt,
  bloom,
  falcon,
  mpt,
] as readonly unknown[] as readonly PartialArchitecture[];

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

const experts = 'has expert layers in place of one feed-forward block';
const latentAttention = 'has latent attention (MLA), whose cache is compressed already';
const stateSpace = 'has layers that keep a state in place of keys and values';
const vision = 'reads more than text: use its text model alone';

/** Why families that people ask for are not run, by model_type. */
const unsupportedFamilies: ReadonlyMap<string, string> = new Map([
  ...['mixtral', 'qwen2_moe', 'qwen3_moe', 'granitemoe', 'olmoe', 'phimoe', 'gpt_oss', 'dbrx'].map(
    (type) => [type, experts] as const,
  ),
  ...['deepseek_v2', 'deepseek_v3', 'kimi_k2', 'minicpm3'].map((type) => [type, latentAttention] as const),
  ...['mamba', 'mamba2', 'falcon_mamba', 'rwkv', 'jamba', 'zamba2', 'bamba', 'granitemoehybrid', 'falcon_h1'].map(
    (type) => [type, stateSpace] as const,
  ),
  ['lfm2', 'has layers of short convolutions in place of attention'],
  ...['gemma3', 'gemma3n', 'mistral3', 'llama4', 'qwen2_vl', 'qwen2_5_vl', 'llava'].map(
    (type) => [type, vision] as const,
  ),
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
  const reason = typeof modelType === 'string' ? unsupportedFamilies.get(modelType) : undefined;
  const received = typeof modelType === 'string' ? modelType : JSON.stringify(modelType);
  throw new KvlrError('unknown-architecture', {
    message: `expected one of ${knownTypes.join(', ')}, got ${received}`,
    hint:
      reason === undefined
        ? 'Use a checkpoint of a known family, or describe this one in an ArchitectureDescriptor if it is the same decoder under other names.'
        : `Use a checkpoint of a known family: ${received} ${reason}.`,
    where: { file: 'config.json', argument: 'model_type' },
    data: { file: 'config.json', received: modelType, known: knownTypes },
  });
}
