import { overlayModel } from '@kvlr/checkpoint';
import { type DenseTensor, type ModelSource, stockLayout, type TensorRole } from '@kvlr/core';

/** For tests: the model with each `headsPerGroup` neighbouring KV heads replaced by their mean. */
export async function meanPooledStudent(teacher: ModelSource, headsPerGroup: number): Promise<ModelSource> {
  const { shape } = teacher;
  const groups = shape.numKeyValueHeads / headsPerGroup;
  const tensors = new Map<string, DenseTensor>();
  const roles: TensorRole[] = shape.attention.inputBias
    ? ['keyWeight', 'valueWeight', 'keyBias', 'valueBias']
    : ['keyWeight', 'valueWeight'];
  for (let layer = 0; layer < shape.numLayers; layer++) {
    for (const role of roles) {
      const name = teacher.tensorName(role, layer);
      const source = await teacher.tensors.readFloat32(name);
      const headSize = source.length / shape.numKeyValueHeads;
      const data = new Float32Array(groups * headSize);
      source.forEach((value, index) => {
        const group = Math.floor(index / headSize / headsPerGroup);
        data[group * headSize + (index % headSize)]! += value / headsPerGroup;
      });
      const width = groups * shape.headDim;
      tensors.set(name, { shape: role.endsWith('Bias') ? [width] : [width, shape.hiddenSize], data });
    }
  }
  const layers = shape.layers.map((layer) => ({ ...layer, cache: stockLayout(groups, shape.headDim) }));
  return overlayModel(teacher, {
    shape: { ...shape, numKeyValueHeads: groups, layers },
    tensors,
    id: `${teacher.id}-mean-pooled`,
  });
}
