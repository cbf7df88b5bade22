import type { KeptReconstruction } from '../reconstruction/reconstructed-layer.ts';

/** The tensors of reconstructed layers, by name, in their order. */
export async function readLayers(layers: readonly KeptReconstruction[]): Promise<Map<string, Float32Array>> {
  const read = new Map<string, Float32Array>();
  for (const [name, tensor] of layers.flatMap(({ tensors }) => [...tensors])) read.set(name, await tensor.read());
  return read;
}
