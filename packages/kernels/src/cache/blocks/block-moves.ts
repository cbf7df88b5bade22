import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { GpuRead } from '../../webgpu/program.ts';
import { runProgram } from '../../webgpu/run-program.ts';
import type { CacheFormat } from '../cache-format.ts';
import { rotationAt } from '../rotation-table.ts';
import { type BlockFormat, blockShape } from './block-format.ts';
import { blockConstants, blockRun, levelShader } from './block-shader.ts';

/** Entries and blocks between which tokens move; one of the two is written in place. */
export interface BlockMoveInputs {
  /** Tokens one by one, int32 [batch, capacity, entryWords], in f16. */
  entries: TensorInfo;
  /** int32 [batch, blocks, blockWords] */
  blocks: TensorInfo;
  /** int32 [batch, 3], see `BlockRun`. */
  runs: TensorInfo;
  /** `createRotationTable` that keys of entries are rotated with. */
  rotation: TensorInfo;
}

export interface BlockMoveAttributes {
  format: BlockFormat;
  entryFormat: CacheFormat;
  /** Tokens before the first block. */
  exactFirst: number;
  /** The longest run. */
  longest: number;
}

/** Invocations of a workgroup. */
export const MOVE_LANES = 64;

interface BlockMove {
  name: string;
  to: 'entries' | 'blocks';
  constants?: Record<string, number>;
  code: string[];
}

/** Runs a shader with a workgroup for each slot of each block. */
export function moveOnGpu(
  gpu: WebGPUBackend,
  inputs: BlockMoveInputs,
  { format, entryFormat, exactFirst, longest }: BlockMoveAttributes,
  { name, to, constants, code }: BlockMove,
): TensorInfo[] {
  const [batch, capacity, entryWords] = inputs.entries.shape as [number, number, number];
  const from = to === 'entries' ? 'blocks' : 'entries';
  const words = (of: 'entries' | 'blocks'): GpuRead => ({ name: of, type: 'u32', tensor: inputs[of] });
  runProgram(gpu, {
    name,
    shape: [...blockShape(format), exactFirst],
    reads: [
      words(from),
      { name: 'runs', type: 'struct BlockRun', tensor: inputs.runs },
      { name: 'rotation', type: 'f32', tensor: inputs.rotation },
    ],
    writes: [words(to)],
    uniforms: [
      { name: 'capacity', type: 'i32', value: capacity },
      { name: 'places', type: 'i32', value: inputs.blocks.shape[1]! },
    ],
    workgroups: [format.slots, longest, batch],
    source: () => ({
      constants: {
        ...blockConstants(format),
        ...{ lanes: MOVE_LANES, entryWords, exactFirst },
        keySlotWords: entryFormat.keySlotWords,
        valueSlotWords: entryFormat.valueSlotWords,
        ...constants,
      },
      code: [blockRun, rotationAt, levelShader(format), ...code].join('\n'),
    }),
  });
  return [];
}
