import type { Tensor } from '@tensorflow/tfjs-core';
import type { AdaptedFormat } from '../cache/adapted/adapted-format.ts';
import type { BlockFormat } from '../cache/blocks/block-format.ts';
import { rotateAndAppend } from '../cache/rotate-and-append.ts';
import type { AppendAttributes, AppendInputs } from '../cache/rotate-and-append-host.ts';
import { defineFusedKernel } from '../fused-kernel.ts';
import {
  type AdaptedAttentionAttributes,
  type AdaptedAttentionInputs,
  attendAdaptedOnHost,
} from './adapted/adapted-attention-host.ts';
import { adaptedCode } from './adapted/adapted-attention-webgpu.ts';
import { plainLevelMath, vectorLevelMath } from './adapted/level-math.ts';
import { attendInBlocksOnGpu } from './blocks/attend-in-blocks.ts';
import {
  attendBlocksOnHost,
  type BlockAttentionAttributes,
  type BlockAttentionInputs,
} from './blocks/block-attention-host.ts';
import { channelCode } from './blocks/block-attention-webgpu.ts';
import { PlainBlockTile } from './blocks/block-tile.ts';
import { vectorBlockTiles } from './blocks/block-tile-wasm.ts';
import { plainRowMath } from './row-math.ts';
import { vectorRowMath } from './row-math-wasm.ts';

const attend = defineFusedKernel<BlockAttentionInputs, BlockAttentionAttributes>({
  name: 'KvlrBlockAttention',
  bytesRead: ({ entries, blocks }, { longest }) =>
    4 * blocks.shape[0]! * (longest * blocks.shape[2]! + entries.shape[1]! * entries.shape[2]!),
  webgpu: ({ inputs, attributes, backend }) =>
    attendInBlocksOnGpu(backend, inputs, attributes, channelCode(attributes.format)),
  wasm: ({ inputs, attributes, backend }) =>
    attendBlocksOnHost(backend, vectorRowMath(backend), vectorBlockTiles(backend), inputs, attributes),
  cpu: ({ inputs, attributes, backend }) =>
    attendBlocksOnHost(backend, plainRowMath, (settings) => new PlainBlockTile(settings), inputs, attributes),
});

const attendAdapted = defineFusedKernel<AdaptedAttentionInputs, AdaptedAttentionAttributes>({
  name: 'KvlrAdaptedAttention',
  bytesRead: ({ entries, blocks }, { longest }) =>
    4 * blocks.shape[0]! * (longest * blocks.shape[2]! + entries.shape[1]! * entries.shape[2]!),
  webgpu: ({ inputs, attributes, backend }) =>
    attendInBlocksOnGpu(backend, inputs, attributes, adaptedCode(attributes.format, inputs.tables)),
  wasm: ({ inputs, attributes, backend }) =>
    attendAdaptedOnHost(backend, vectorRowMath(backend), vectorLevelMath(backend), inputs, attributes),
  cpu: ({ inputs, attributes, backend }) =>
    attendAdaptedOnHost(backend, plainRowMath, plainLevelMath, inputs, attributes),
});

/** Blocks beside a cache of entries, and where they begin. */
export interface BlocksOfCache {
  /** int32 [batch, blocks, blockWords] */
  blocks: Tensor;
  format: BlockFormat | AdaptedFormat;
  /** Of a format in fitted bases: its tables, int32. */
  tables?: Tensor | undefined;
  /** Tokens before the first block. */
  exactFirst: number;
  /** Blocks that the fullest sequence holds. */
  longest: number;
}

/**
 * Appends one new token of each sequence to the entries that are in no block, and attends from it over blocks and entries: keys and values
 * are read as they are packed. The sequences' shifts say how many blocks each has, 32 tokens in one. Returns the attended values, float32
 * [batch, numAttentionHeads * width], zeros for a sequence without a new token.
 */
export function appendAndAttendBlocks(
  inputs: { [Name in keyof AppendInputs]: Tensor },
  attributes: AppendAttributes,
  { blocks, format, tables, exactFirst, longest }: BlocksOfCache,
): Tensor {
  const queries = rotateAndAppend(inputs, attributes);
  const { cache: entries, sequences, rotation } = inputs;
  const shared = { entryFormat: attributes.format, exactFirst, longest };
  const [attended] =
    format.kind === 'adapted'
      ? attendAdapted({ queries, entries, blocks, sequences, rotation, tables: tables! }, { format, ...shared })
      : attend({ queries, entries, blocks, sequences, rotation }, { format, ...shared });
  queries.dispose();
  return attended!;
}
