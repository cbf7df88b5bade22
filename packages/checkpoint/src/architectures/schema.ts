import { isLayerRole, isNativeRole, KvlrError, type TensorRole, tensorRoles } from '@kvlr/core';
import { z } from 'zod';
import { type ArchitectureDescriptor, extendArchitecture, ggufKeys, type PartialArchitecture } from './architecture.ts';
import { architectures } from './families.ts';

const literal = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const names = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)], {
  error: 'expected a name, or a list of names',
});
const arithmetic = { power: z.number().optional(), times: z.number().optional(), plus: z.number().optional() };
const namedNumber = z.enum([
  ...([
    'numLayers',
    'hiddenSize',
    'maxPositionEmbeddings',
    'numAttentionHeads',
    'numKeyValueHeads',
    'headDim',
  ] as const),
]);

/** Where an entry of the shape comes from; see `Setting`. */
const setting: z.ZodType = z.lazy(() =>
  z.union(
    [
      literal,
      z.strictObject({ field: names, default: setting.optional(), nullable: z.boolean().optional(), ...arithmetic }),
      z.strictObject({ of: namedNumber, ...arithmetic }),
      z.strictObject({ not: setting }),
      z.strictObject({ when: setting, is: literal.optional(), use: setting, otherwise: setting }),
    ],
    {
      error: 'expected a constant, { "field", "default" }, { "of" }, { "not" } or { "when", "is", "use", "otherwise" }',
    },
  ),
);
const optional = setting.optional();

const normKind = z.enum(['rms', 'layer']);
const normRules = { epsilon: optional, weight: optional, bias: optional, unitOffset: optional };

const shapeParts = {
  size: z.strictObject({
    numLayers: setting,
    hiddenSize: setting,
    vocabSize: setting,
    maxPositionEmbeddings: setting,
    numAttentionHeads: setting,
    numKeyValueHeads: optional,
    headDim: optional,
  }),
  norm: z.strictObject({ kind: normKind, ...normRules, epsilon: setting }),
  embedding: z.strictObject({
    ...{ width: optional, scale: optional, norm: optional },
    learnedPositions: z.strictObject({ count: setting, offset: z.int().min(0) }).optional(),
  }),
  attention: z.strictObject({
    ...{ inputBias: optional, outputBias: optional, scoreScale: optional, softCap: optional, clip: optional },
    queryKeyNorm: z
      .strictObject({
        kind: normKind.optional(),
        ...normRules,
        over: z.enum(['head', 'heads', 'projection']),
        present: optional,
      })
      .optional(),
  }),
  feedForward: z.strictObject({ intermediateSize: setting, gated: optional, activation: setting, bias: optional }),
  blocks: z.strictObject({
    before: optional,
    after: optional,
    parallel: optional,
    residual: optional,
    residualScale: optional,
  }),
  positions: z.strictObject({
    kind: setting,
    ...{ theta: optional, windowTheta: optional, rotaryShare: optional, rotaryDim: optional },
    pairs: z.enum(['half-split', 'interleaved']).optional(),
    without: z.strictObject({ field: z.string().min(1), every: setting }).optional(),
    slopes: z.enum(['bloom', 'mpt', 'falcon']).optional(),
  }),
  window: z.strictObject({ size: setting, from: optional, fullEvery: optional }),
  head: z.strictObject({ tied: setting, bias: optional, norm: optional, scale: optional, softCap: optional }),
};

const role = z.enum(tensorRoles.filter((name) => !isNativeRole(name)));
const place = z.union([names, z.strictObject({ name: names, transposed: z.literal(true) })], {
  error: 'expected the name of a tensor, or { "name", "transposed": true }',
});

function placesOfRoles<Place extends z.ZodType>(one: Place) {
  return Object.fromEntries(role.options.map((name) => [name, one.optional()]));
}

const description = {
  name: z.string().min(1),
  modelTypes: z.array(z.string().min(1)).min(1),
  className: z.string().min(1),
  shape: z.strictObject({
    ...shapeParts,
    embedding: shapeParts.embedding.optional(),
    attention: shapeParts.attention.optional(),
    blocks: shapeParts.blocks.optional(),
    window: shapeParts.window.optional(),
  }),
  refused: z.array(
    z.strictObject({
      field: z.string().min(1),
      unless: z.array(literal).optional(),
      atLeast: namedNumber.optional(),
      reason: z.string().min(1),
    }),
  ),
  prefixes: z.array(z.string()).min(1).optional(),
  wideHeads: z.boolean().optional(),
  tensors: z.strictObject(placesOfRoles(place)).superRefine(checkNames),
  fused: z.array(
    z.strictObject({
      name: names,
      roles: z.array(role).min(2),
      order: z.enum(['parts', 'heads']),
      transposed: z.boolean().optional(),
    }),
  ),
  gguf: z
    .strictObject({
      architecture: z.string().min(1),
      rowOrder: z.enum(['interleaved', 'half-split']),
      frequencyFactors: z.boolean().optional(),
      keys: z.array(z.enum(ggufKeys)).optional(),
      fused: z.array(z.enum(['attn_qkv', 'ffn_up'])).optional(),
      config: z.record(z.string(), z.unknown()).optional(),
      secondNorm: z
        .strictObject({
          ...{ name: z.string().min(1), countField: z.string().min(1) },
          namesOfBoth: z.array(z.string().min(1)),
        })
        .optional(),
      layersScaledByWidth: z.int().min(1).optional(),
    })
    .optional(),
};

const wholeSchema = z.strictObject({
  ...description,
  refused: description.refused.default([]),
  fused: description.fused.default([]),
});

const partialSchema = z.strictObject({
  like: z.enum(architectures.names as [string, ...string[]]),
  ...z
    .strictObject({
      ...description,
      shape: z
        .strictObject(
          Object.fromEntries(Object.entries(shapeParts).map(([part, rules]) => [part, rules.partial().nullable()])),
        )
        .partial(),
      tensors: z.strictObject(placesOfRoles(place.nullable())).superRefine(checkNames),
      gguf: description.gguf.nullable(),
    })
    .partial().shape,
});

/** Every role has a name of its own, with the layer's number where there is one for each layer. */
function checkNames(tensors: Record<string, unknown>, context: z.RefinementCtx): void {
  const seen = new Map<string, string>();
  for (const [name, given] of Object.entries(tensors).filter(([, place]) => place !== null)) {
    const ofLayer = isLayerRole(name as TensorRole);
    const templates = [(given as { name?: string | string[] }).name ?? (given as string | string[])].flat();
    for (const template of templates) {
      const fail = (message: string) => context.addIssue({ code: 'custom', path: [name], message });
      if (template.includes('{layer}') !== ofLayer) {
        fail(
          `expected a name ${ofLayer ? "with '{layer}' in it" : "without '{layer}'"}, got ${JSON.stringify(template)}`,
        );
      }
      const other = seen.get(template);
      // A model has norms before its blocks or behind them: they may go by one name.
      if (other !== undefined && !(name.endsWith('Norm') && other.endsWith('Norm'))) {
        fail(`expected another name than that of ${other}, got ${JSON.stringify(template)}`);
      }
      seen.set(template, name);
    }
  }
}

/**
 * Takes a model family out of parsed JSON. `like` names a built-in family whose entries hold where the file gives none, tensor
 * by tensor, so that a family that only names things otherwise is a few lines.
 *
 * @param json What JSON.parse gave.
 * @param file Path of the file, for messages.
 * @throws KvlrError 'plugin-invalid', naming the file and the field.
 */
export function architectureFromJson(json: unknown, file: string): ArchitectureDescriptor {
  const isPartial = typeof json === 'object' && json !== null && 'like' in json;
  if (!isPartial) return parse(wholeSchema, json, file) as ArchitectureDescriptor;
  const given = parse(partialSchema, json, file) as PartialArchitecture & { like: string };
  const whole = extendArchitecture(architectures.get(given.like), given);
  return parse(wholeSchema, whole, file) as ArchitectureDescriptor;
}

function parse(schema: z.ZodType, value: unknown, file: string): unknown {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  const argument = [...issue.path, ...unknown].map(String).join('.');
  throw new KvlrError('plugin-invalid', {
    message: issue.message.replace(/^Invalid input: /, ''),
    hint: 'Begin with { "like": "llama" } and give only what differs; see examples/architectures/renamed.json.',
    where: { file, ...(argument !== '' && { argument }) },
    data: { file, field: argument },
  });
}
