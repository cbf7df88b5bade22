import {
  countElements,
  type DecoderShape,
  type DecoderTensor,
  decoderTensors,
  globalTensors,
  KvlrError,
  layerTensors,
  type ModelSource,
  type TensorInfo,
} from '@kvlr/core';
import type { GroupingQuestion } from '../models/workers.ts';

/** A model in a form that threads share: float32 tensors in shared memory, and the names that the roles stand for. */
export interface SharedModel {
  id: string;
  shape: DecoderShape;
  tensors: Map<string, { info: TensorInfo; values: Float32Array }>;
  /** Name of the tensor of a role, in each layer for roles of layers; see `keyOf`. */
  names: Map<string, string>;
}

/** Copies a model, or the part of it that is asked for, into shared memory, once for all threads: 4 bytes a parameter. */
export async function shareModel(source: ModelSource, part?: number | 'head'): Promise<SharedModel> {
  const names = new Map<string, string>();
  for (const { role, layer } of tensorsOfPart(source.shape, part)) {
    const name = source.tensorName(role, layer);
    // What is lacking, the loader will miss.
    if (source.tensors.has(name)) names.set(keyOf(role, layer), name);
  }
  const tensors: SharedModel['tensors'] = new Map();
  for (const name of new Set(names.values())) {
    const read = await source.tensors.readFloat32(name);
    const values = new Float32Array(new SharedArrayBuffer(read.byteLength));
    values.set(read);
    const { shape } = source.tensors.info(name);
    tensors.set(name, { info: { name, dtype: 'F32', shape, byteLength: values.byteLength }, values });
  }
  return { id: source.id, shape: source.shape, tensors, names };
}

function tensorsOfPart(
  shape: DecoderShape,
  part: number | 'head' | undefined,
): Pick<DecoderTensor, 'role' | 'layer'>[] {
  if (part === undefined) return [...decoderTensors(shape), { role: 'languageModelHead' }];
  if (part !== 'head') return layerTensors(shape, part);
  const ofHead = globalTensors(shape).filter((tensor) => tensor.part === 'head');
  return shape.head.tied ? [...ofHead, { role: 'embedding' }] : ofHead;
}

/** The model again, on the other side. */
export function sourceOfSharedModel({ id, shape, tensors, names }: SharedModel): ModelSource {
  const find = (name: string) => {
    const tensor = tensors.get(name);
    if (tensor) return tensor;
    throw new KvlrError('tensor-missing', {
      message: `expected a tensor of this name, got ${tensors.size} others`,
      where: { tensor: name },
    });
  };
  return {
    id,
    shape,
    tensorName: (role, layer) => names.get(keyOf(role, layer)) ?? keyOf(role, layer),
    tensors: {
      list: () => [...tensors.values()].map(({ info }) => info),
      has: (name) => tensors.has(name),
      info: (name) => find(name).info,
      readBytes: async (name) => new Uint8Array(find(name).values.slice().buffer),
      readFloat32: async (name) => find(name).values.slice(),
      readRows: async (name, from, to) => {
        const { info, values } = find(name);
        const width = countElements(info.shape.slice(1));
        return values.slice(from * width, to * width);
      },
      close: async () => {},
    },
  };
}

function keyOf(role: string, layer: number | undefined): string {
  return layer === undefined ? role : `${role} of layer ${layer}`;
}

const unread = new Float64Array(0);

/** The question with its numbers in shared memory; what only measurements read stays behind where nothing is measured. */
export function shareQuestion(question: GroupingQuestion): GroupingQuestion {
  const { weights, inputs } = question;
  const statistics = question.statistics && {
    ...question.statistics,
    ...{ inputSecondMoment: unread, inputMean: unread },
    ...(!inputs && { rotatedKeySecondMoment: unread, rotatedQuerySecondMoment: unread, attendedSecondMoment: unread }),
  };
  return {
    ...question,
    weights: shareFields(inputs ? weights : { ...weights, query: unread }),
    statistics: statistics && shareFields(statistics),
    inputs: inputs && { tokens: inputs.tokens, rows: shareFields(inputs.rows) },
  };
}

/** An object whose Float64 arrays are copies in memory that threads share: they cross without being copied again. */
function shareFields<Fields extends object>(fields: Fields): Fields {
  const shared = Object.entries(fields).map(([name, value]) => {
    if (!(value instanceof Float64Array)) return [name, value];
    const copy = new Float64Array(new SharedArrayBuffer(value.byteLength));
    copy.set(value);
    return [name, copy];
  });
  return Object.fromEntries(shared) as Fields;
}

/** The memory of all numbers in a value, each once: it may move to another thread in place of a copy. */
export function arraysOf(value: unknown): ArrayBuffer[] {
  if (ArrayBuffer.isView(value)) return [value.buffer as ArrayBuffer];
  if (typeof value !== 'object' || value === null) return [];
  return [...new Set(Object.values(value).flatMap(arraysOf))];
}
