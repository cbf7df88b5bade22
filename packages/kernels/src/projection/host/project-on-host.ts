import type { TensorInfo } from '@tensorflow/tfjs-core';
import { allocateOnHost, type HostBackend, hostFloats } from '../../host/host-heap.ts';
import type { KernelCall } from '../../register/define-fused-kernel.ts';
import { rowLayout } from '../../weights/weight-format.ts';
import type { ProjectionAttributes, ProjectionInputs } from '../projection.ts';
import { addToRows, gateRows } from './finish-rows.ts';
import type { Multiply } from './product-task.ts';
import { stageRows } from './stage-rows.ts';

/** The body of the projection kernels on wasm and cpu, which differ in how they multiply. */
export function projectOnHost<Backend extends HostBackend>(multiply: Multiply<Backend>) {
  return (call: KernelCall<ProjectionInputs, ProjectionAttributes, Backend>): TensorInfo => {
    const { inputs, attributes, backend } = call;
    const { format, rows, columns, shards, epsilon, activation } = attributes;
    const tokens = inputs.x.shape[0]!;
    const { paddedColumns } = rowLayout(format, columns);
    const shape = { tokens, columns, paddedColumns };
    const asItIs = inputs.normWeight === undefined && paddedColumns === columns;
    // All memory first: a growing heap would leave views behind.
    const result = allocateOnHost(backend, [tokens, rows], 'float32');
    const isPaired = inputs.pairedWords.length > 0;
    const paired = isPaired ? allocateOnHost(backend, [tokens, rows], 'float32') : undefined;
    const staged = asItIs ? inputs.x : allocateOnHost(backend, [tokens, paddedColumns], 'float32');
    const floats = (tensor: TensorInfo | undefined) => tensor && hostFloats(backend, tensor);
    if (!asItIs) {
      const weight = floats(inputs.normWeight);
      stageRows(hostFloats(backend, inputs.x), hostFloats(backend, staged), shape, weight && { weight, epsilon });
    }
    const product = (words: TensorInfo[], scales: TensorInfo[], into: TensorInfo) =>
      shards.forEach(({ firstRow, rows: shardRows }, shard) => {
        const matrix = { format, columns, rows, firstRow, shardRows, words: words[shard]!, scales: scales[shard] };
        multiply(backend, { ...matrix, tokens, staged, product: into });
      });
    product(inputs.words, inputs.scales, result);
    if (paired) {
      product(inputs.pairedWords, inputs.pairedScales, paired);
      gateRows(hostFloats(backend, result), hostFloats(backend, paired), activation);
      backend.disposeData(paired.dataId);
    }
    addToRows(hostFloats(backend, result), rows, floats(inputs.bias), floats(inputs.residual));
    if (!asItIs) backend.disposeData(staged.dataId);
    return result;
  };
}
