import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../fused-kernel.ts';
import { type HostBackend, hostWords } from '../tensors.ts';
import { gridOf } from '../webgpu/grid.ts';
import { runProgram } from '../webgpu/run-program.ts';

interface CopyRowsInputs {
  /** int32 [..., words of a row] */
  source: TensorInfo;
  /** int32 [..., words of a row], written in place. */
  target: TensorInfo;
  /** int32 [copies, 2]: a row of the source, and the row of the target that it becomes. */
  rows: TensorInfo;
}

/** Which words are copied: the first of a row, so many, to a place of the target's. */
export interface CopiedWords {
  words: number;
  /** Default 0. */
  targetAt?: number;
}

const run = defineFusedKernel<CopyRowsInputs, CopiedWords>({
  name: 'KvlrCopyRows',
  bytesRead: ({ rows }, { words }) => 4 * rows.shape[0]! * words,
  webgpu: ({ inputs, attributes, backend }) => copyOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) => copyOnHost(backend, inputs, attributes),
  cpu: ({ inputs, attributes, backend }) => copyOnHost(backend, inputs, attributes),
});

/** Copies words of any rows of a tensor into any rows of another, in place, bit for bit. */
export function copyRows(inputs: { [Name in keyof CopyRowsInputs]: Tensor }, copied: CopiedWords): void {
  if (inputs.rows.shape[0]! > 0) run(inputs, copied);
}

function copyOnHost(backend: HostBackend, inputs: CopyRowsInputs, { words, targetAt = 0 }: CopiedWords): TensorInfo[] {
  const [source, target, rows] = [inputs.source, inputs.target, inputs.rows].map((each) => hostWords(backend, each));
  const sourceWords = inputs.source.shape.at(-1)!;
  const targetWords = inputs.target.shape.at(-1)!;
  for (let copy = 0; copy < inputs.rows.shape[0]!; copy++) {
    const from = rows![2 * copy]! * sourceWords;
    target!.set(source!.subarray(from, from + words), rows![2 * copy + 1]! * targetWords + targetAt);
  }
  return [];
}

function copyOnGpu(
  gpu: WebGPUBackend,
  { source, target, rows }: CopyRowsInputs,
  { words, targetAt = 0 }: CopiedWords,
): TensorInfo[] {
  const copies = rows.shape[0]!;
  const [sourceWords, targetWords] = [source.shape.at(-1)!, target.shape.at(-1)!];
  runProgram(gpu, {
    name: 'copy_rows',
    shape: [words, sourceWords, targetWords, targetAt],
    reads: [
      { name: 'source', type: 'u32', tensor: source },
      { name: 'rows', type: 'struct Copy', tensor: rows },
    ],
    writes: [{ name: 'copied', type: 'u32', tensor: target }],
    uniforms: [{ name: 'copies', type: 'i32', value: copies }],
    workgroups: gridOf(Math.ceil((copies * words) / lanes)),
    source: () => ({ constants: { words, sourceWords, targetWords, targetAt, lanes }, code: copyWords }),
  });
  return [];
}

const lanes = 64;

const copyWords = `
  struct Copy {
    sourceRow: i32,
    targetRow: i32,
  }

  @compute @workgroup_size(lanes)
  fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
  ) {
    let place = i32(group.x + group.y * groups.x) * lanes + i32(index);
    if (place >= uniforms.copies * words) { return; }
    let row = rows[place / words];
    let word = place % words;
    copied[row.targetRow * targetWords + targetAt + word] = source[row.sourceRow * sourceWords + word];
  }`;
