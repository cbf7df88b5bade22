import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { architectures, describeEngines, findArchitecture, modelShapeFromConfig } from '@kvlr/checkpoint';
import { resolveMethod } from '@kvlr/compression';
import { type DecoderShape, layerRope } from '@kvlr/core';
import { readGolden } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { foreseeOutcome } from './outcome.ts';
import { parseRecipe } from './recipe.ts';

/** A checkpoint of each family and kind of positions: the config of a golden one, with what real ones have otherwise. */
const configs: [golden: string, changes?: Record<string, unknown>, label?: string][] = [
  ['llama_mha'],
  ['mistral'],
  ['qwen2_bias'],
  ['qwen3'],
  ['smollm3', { num_hidden_layers: 4, no_rope_layers: undefined, layer_types: undefined }],
  ['phi'],
  ['phi3_fused'],
  ['phi3_partial', {}, 'phi3, partial rotary'],
  ['olmo', { clip_qkv: null }],
  ['olmo', {}, 'olmo, clip_qkv'],
  ['olmo2'],
  ['olmo3', { num_hidden_layers: 4, layer_types: undefined }],
  ['stablelm_parallel'],
  ['stablelm_qknorm', {}, 'stablelm, qk_layernorm'],
  ['gemma', { num_key_value_heads: 4 }],
  ['gemma2', { query_pre_attn_scalar: 16 }],
  [
    'gemma3_text',
    { query_pre_attn_scalar: 16, num_hidden_layers: 6, sliding_window_pattern: 6, _sliding_window_pattern: 6 },
  ],
  ['granite'],
  ['starcoder2'],
  ['cohere'],
  ['cohere', { use_qk_norm: true }, 'cohere, use_qk_norm'],
  ['gpt_neox_parallel'],
  ['gpt2'],
  ['gptj'],
  ['opt_prenorm'],
  ['bloom'],
  ['bloom_heads6', {}, 'bloom, residual behind the norm'],
  ['falcon_new', {}, 'falcon, new_decoder_architecture'],
  ['falcon_alibi', {}, 'falcon, older'],
  ['mpt_alibi'],
];

function positionsOf({ layers, headDim, embedding }: DecoderShape): string {
  const kinds = layers.map(({ positions }) => {
    if (positions.kind === 'alibi') return 'ALiBi';
    if (positions.kind === 'none') return embedding.learnedPositions ? 'learned' : 'none';
    const { rotaryDim, pairs } = positions;
    const part = rotaryDim < headDim ? ' on a part of the head' : '';
    return `RoPE${part}${pairs === 'interleaved' ? ', interleaved' : ''}`;
  });
  const [first, ...others] = [...new Set(kinds)];
  return [first, ...others.map((kind) => `${kind} in some layers`)].join('; ');
}

/** How keys of some heads become one without loss, where they are alike enough. */
function mergesOf(shape: DecoderShape, approximation: string | undefined): string {
  if (approximation !== undefined) return `approximate: ${approximation}`;
  const parts = new Set(
    shape.layers.flatMap((_, layer) => {
      const rotaryDim = layerRope(shape, layer)?.rotaryDim ?? 0;
      return [...(rotaryDim > 0 ? ['per frequency'] : []), ...(rotaryDim < shape.headDim ? ['as values'] : [])];
    }),
  );
  return `exact: ${[...parts].join(' and ')}`;
}

function table(): string {
  const method = resolveMethod(parseRecipe({}).method);
  const rows = configs.map(([golden, changes = {}, label]) => {
    const config = {
      ...JSON.parse(readFileSync(join(readGolden(golden).directory, 'config.json'), 'utf8')),
      ...changes,
    };
    const architecture = findArchitecture(config.model_type);
    const shape = modelShapeFromConfig(config, architecture);
    const model = { shape: { ...shape, architecture: architecture.name }, config };
    const heads = { keyValueHeads: shape.numKeyValueHeads / 2, headWidth: 1 };
    const outcome = foreseeOutcome({ model, method, ...heads, uniform: true, contiguous: true });
    const loads = describeEngines(outcome.loadsInto);
    return [label ?? architecture.name, positionsOf(shape), mergesOf(shape, outcome.approximation), loads];
  });
  const head = ['family', 'positions', 'merging keys', 'with half of its KV heads it loads into'];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: string[]) => `| ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

it('docs/families.md says how each family is compressed (vitest -u writes it)', async () => {
  const page = `# Families

How keys of each family are merged, and what the result loads into under the default recipe. Made from the families' descriptions in
\`packages/checkpoint/src/architectures/families\` by \`packages/pipeline/src/families-table.test.ts\`; \`kvlr inspect\` and
\`kvlr compress --dry-run\` say it of a checkpoint.

${table()}

Values of a group become one by any linear map, in every family. Keys that RoPE rotates are merged as complex numbers, frequency by
frequency, which commutes with the rotation; keys that nothing rotates (learned positions, ALiBi, layers without RoPE, the rest of
a head under partial rotary positions) fold as values do, in the metric of the queries. Heads that differ by such maps merge
without any loss: \`packages/pipeline/src/families.test.ts\` plants such heads in a checkpoint of every family, and gets its logits back.

Where a norm (Qwen3, Gemma 3, OLMo 2 and 3, StableLM 2 12B) or clipping (OLMo 1, MPT with clip_qkv) stands between projection and positions, no merge of
keys is exact but for heads that differ by rotations of each pair and a factor, and under StableLM's LayerNorm not even for those. Norms are then taken as the constant factors that
they are on average over the calibration text, the scales of the new norms are fitted, and block reconstruction trains projections and
norms on what is left. Plan and report say "approximate".

ALiBi's slopes belong to query heads: contiguous groups, the default, keep their order. Other groupings leave kvlr's own form, with the
slopes of each layer stored.

transformers has no field for fewer KV heads in GPT-2, GPT-J, GPT-NeoX, OPT, BLOOM, MPT and the older Falcon: their results are
\`model_type: "kvlr"\`, which kvlr opens and other engines refuse, and GGUF files where llama.cpp takes them.
`;
  await expect(page).toMatchFileSnapshot('../../../docs/families.md');
  const named = configs.map(([golden, changes]) => {
    const config = JSON.parse(readFileSync(join(readGolden(golden).directory, 'config.json'), 'utf8'));
    return findArchitecture({ ...config, ...changes }.model_type).name;
  });
  expect(new Set(named)).toEqual(new Set(architectures.names));
});
