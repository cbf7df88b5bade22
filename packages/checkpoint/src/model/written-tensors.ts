import {
  decoderTensors,
  isCompressedRole,
  type ModelSource,
  type TensorDtype,
  type TensorInfo,
  type TensorRole,
  tensorRoles,
} from '@kvlr/core';
import { decodeFloats, dtypeSize, encodeFloats, isWeightDtype, tensorByteLength, type WeightDtype } from '../dtypes.ts';
import type { TensorPlan } from '../safetensors/write.ts';
import { isPlain, joinParts, type StoredPart, type StoredTensor, type TensorLayout } from './stored-tensors.ts';
import { type DeferredTensor, overlayModel } from './variant.ts';

export interface TensorPlanSettings {
  /** The model it was made from: its tensors' types are kept, and changed or new weights take the type it uses. */
  source?: (ModelSource & { layout?: TensorLayout; writtenDtype?: WeightDtype }) | undefined;
  /** One type for all weights, instead. */
  dtype?: WeightDtype | undefined;
  /** Where tensors lie in the files. Default: as in those of the source, else each under the model's own name. */
  layout?: TensorLayout | undefined;
}

/** A tensor of the files to be written, and how its bytes are made when its turn comes. */
export interface PlannedTensor extends TensorPlan {
  /** The decoder's tensors that it holds, and their names in the model; none for what the decoder does not use. */
  parts: { role: TensorRole; name: string }[];
  read(): Promise<Uint8Array>;
}

/**
 * Which tensors a written checkpoint holds, and in which type, in the order of the model's own list. Tensors that the decoder
 * does not use are copied as they are, but for those that stand with the projections of a changed layer: they may belong to the old
 * heads.
 */
export function planTensors(model: ModelSource, settings: TensorPlanSettings = {}): PlannedTensor[] {
  const layout = settings.layout ?? settings.source?.layout ?? ownLayout(model);
  const storedOf = new Map<string, StoredTensor[]>();
  for (const stored of layout.stored(model.shape)) {
    for (const { role, layer } of stored.parts) {
      const name = model.tensorName(role, layer);
      storedOf.set(name, [...(storedOf.get(name) ?? []), stored]);
    }
  }
  const isLeftOut = leftOut(model, settings.source);
  const planned = new Map<string, PlannedTensor>();
  for (const info of model.tensors.list()) {
    const held = storedOf.get(info.name);
    for (const stored of held ?? []) {
      if (!planned.has(stored.name)) planned.set(stored.name, planStored(model, stored, settings));
    }
    if (held !== undefined || isLeftOut(info.name)) continue;
    const read = () => model.tensors.readBytes(info.name);
    planned.set(info.name, { name: info.name, dtype: info.dtype, shape: info.shape, parts: [], read });
  }
  return [...planned.values()];
}

/** Size of the weights of a checkpoint that is written so, in bytes, without headers. */
export function plannedBytes(model: ModelSource, settings: TensorPlanSettings = {}): number {
  return planTensors(model, settings).reduce((sum, { dtype, shape }) => sum + tensorByteLength(dtype, shape), 0);
}

/**
 * The model as it will be read back after it was written: every changed weight rounded to the nearest number that its element type
 * in the file holds, when it is read. The model itself when nothing is rounded. Reading throws 'numerical' where a number does not
 * fit into F16.
 *
 * @param source The model it was made from, whose types are kept.
 * @param dtype One type for all weights, instead.
 */
export function roundModel(
  model: ModelSource,
  source: TensorPlanSettings['source'],
  dtype: WeightDtype | undefined,
): ModelSource {
  const tensors = new Map<string, DeferredTensor>();
  for (const { dtype: written, parts } of planTensors(model, { source, dtype })) {
    if (written !== 'F16' && written !== 'BF16') continue;
    for (const { name } of parts) {
      const info = model.tensors.info(name);
      if (info.dtype === written) continue;
      const read = async () =>
        decodeFloats(written, encodeFloats(written, await model.tensors.readFloat32(name), name));
      tensors.set(name, { shape: info.shape, read });
    }
  }
  return tensors.size === 0 ? model : overlayModel(model, { shape: model.shape, tensors, id: `${model.id}, rounded` });
}

function planStored(model: ModelSource, stored: StoredTensor, settings: TensorPlanSettings): PlannedTensor {
  const parts = stored.parts.map(({ role, layer }) => model.tensors.info(model.tensorName(role, layer)));
  const dtype = plannedDtype(stored, parts, settings);
  return {
    name: stored.name,
    dtype,
    shape: stored.shape,
    parts: stored.parts.map(({ role, layer }) => ({ role, name: model.tensorName(role, layer) })),
    async read() {
      const bytes: Uint8Array[] = [];
      for (const [place, part] of parts.entries()) {
        bytes.push(rowsOfPiece(await readAs(model, part, dtype), stored.parts[place]!));
      }
      return isPlain(stored) ? bytes[0]! : joinParts(stored, bytes, dtypeSize(dtype));
    },
  };
}

/** The rows of a tensor that a stored one holds. */
function rowsOfPiece(bytes: Uint8Array, { piece, shape }: StoredPart): Uint8Array {
  if (piece === undefined) return bytes;
  const row = bytes.length / piece.of;
  return bytes.subarray(piece.from * row, (piece.from + shape[0]!) * row);
}

function plannedDtype(
  { parts: [first] }: StoredTensor,
  infos: readonly TensorInfo[],
  { source, dtype: wanted }: TensorPlanSettings,
): TensorDtype {
  const own = infos[0]!.dtype;
  if (!isWeightDtype(own)) return own;
  const told = wanted ?? source?.writtenDtype;
  if (told !== undefined) return told;
  const { role, layer } = first!;
  const name = source?.tensorName(role, layer);
  const kept = name !== undefined && source?.tensors.has(name) ? source.tensors.info(name).dtype : undefined;
  const usual = kept ?? source?.tensors.info(source.tensorName('queryWeight', 0)).dtype ?? own;
  return usual === 'F64' ? 'F32' : usual;
}

/** Bytes of a tensor in the planned type: the stored ones where it has that type, else rounded to nearest even. */
async function readAs(model: ModelSource, { name, dtype: own }: TensorInfo, dtype: TensorDtype): Promise<Uint8Array> {
  if (own === dtype) return model.tensors.readBytes(name);
  return encodeFloats(dtype as WeightDtype, await model.tensors.readFloat32(name), name);
}

/** Each tensor stored alone, under the name that the model gives it. */
function ownLayout({ tensorName }: ModelSource): TensorLayout {
  return {
    tensorName,
    stored: (shape) =>
      decoderTensors(shape).map((tensor) => {
        const name = tensorName(tensor.role, tensor.layer);
        const parts = [{ ...tensor, name, rows: [[0, tensor.shape[0]!] as [number, number]] }];
        return { name, shape: tensor.shape, transposed: false, parts };
      }),
  };
}

/**
 * Which names a written model leaves out where the decoder does not use them: those that a projection's weight or bias, or a tensor of
 * kvlr's own layouts, may have, and in layers whose cache differs from the source's all that stand beside the projections.
 */
function leftOut(model: ModelSource, source: TensorPlanSettings['source']): (name: string) => boolean {
  const roles = tensorRoles.filter((role) => isCompressedRole(role) && !/Norm/.test(role));
  const names = new Set(model.shape.layers.flatMap((_, layer) => roles.map((role) => model.tensorName(role, layer))));
  const changed = model.shape.layers.flatMap(({ cache }, layer) => {
    const isChanged = JSON.stringify(cache) !== JSON.stringify(source?.shape.layers[layer]?.cache);
    return source !== undefined && isChanged ? [attentionModule(model, layer)] : [];
  });
  return (name) => names.has(name) || changed.some((module) => module !== '' && name.startsWith(module));
}

/** What the names of a layer's query and output projections begin with, up to a point. */
function attentionModule({ tensorName }: ModelSource, layer: number): string {
  const [query, output] = [tensorName('queryWeight', layer), tensorName('outputWeight', layer)];
  let shared = 0;
  while (shared < query.length && query[shared] === output[shared]) shared++;
  return query.slice(0, query.slice(0, shared).lastIndexOf('.') + 1);
}
