import { expectedTensors } from '@kvlr/checkpoint';
import { type Checkpoint, type DecoderShape, type EventListener, KvlrError, type TensorRole } from '@kvlr/core';

/** What compression leaves as it is in a model's shape. */
const keptSizes = [
  'numLayers',
  'hiddenSize',
  'intermediateSize',
  'numAttentionHeads',
  'headDim',
  'vocabSize',
  'tieWordEmbeddings',
  'mlpBias',
] as const satisfies (keyof DecoderShape)[];

/** What compression leaves as it is among the tensors: all but the projections of attention. */
const keptRoles = new Set<TensorRole>([
  'embedding',
  'finalNorm',
  'languageModelHead',
  'attentionNorm',
  'feedForwardNorm',
  'gateWeight',
  'upWeight',
  'downWeight',
  'gateBias',
  'upBias',
  'downBias',
]);

const hint = 'Name the model that this checkpoint was compressed from with --teacher.';

/**
 * Checks that a teacher is the model which a compressed checkpoint was made from. One that cannot be is refused; one whose tensors
 * outside attention differ may be meant (a fine-tuned sibling), so there is a warning.
 *
 * @throws KvlrError 'invalid-argument' when the two are the same model, or differ in a size that compression keeps.
 */
export async function checkTeacher(model: Checkpoint, teacher: Checkpoint, onEvent?: EventListener): Promise<void> {
  if (model.id === teacher.id) {
    throw new KvlrError('invalid-argument', {
      message: `recoverCheckpoint: expected a compressed checkpoint and the model it was made from, got ${teacher.location} as both`,
      hint: 'Compress the model first, and recover the result towards it.',
      data: { file: model.location, teacher: teacher.location },
    });
  }
  for (const size of keptSizes) {
    if (model.shape[size] === teacher.shape[size]) continue;
    throw new KvlrError('invalid-argument', {
      message: `recoverCheckpoint: expected a teacher with ${size} ${model.shape[size]} like ${model.location}, got ${teacher.shape[size]} in ${teacher.location}`,
      hint,
      data: { name: size, expected: model.shape[size], received: teacher.shape[size] },
    });
  }
  const foreign = await findForeignTensor(model, teacher);
  if (foreign === undefined) return;
  onEvent?.({
    type: 'warning',
    message:
      `${teacher.location} is not the model that ${model.location} was made from: ${foreign} differs. Training goes on towards it, ` +
      `but only attention is trained, so the rest keeps another model's values. ${hint}`,
    data: { file: model.location, teacher: teacher.location, tensor: foreign },
  });
}

/** Name of the first tensor outside attention whose values differ by more than the element types explain. */
async function findForeignTensor(model: Checkpoint, teacher: Checkpoint): Promise<string | undefined> {
  for (const { role, layer } of expectedTensors(teacher.shape)) {
    if (!keptRoles.has(role)) continue;
    const name = model.tensorName(role, layer);
    const teacherName = teacher.tensorName(role, layer);
    const values = await model.tensors.readFloat32(name);
    const expected = await teacher.tensors.readFloat32(teacherName);
    const dtypes = [model.tensors.info(name).dtype, teacher.tensors.info(teacherName).dtype] as const;
    if (!isRounded(values, expected, dtypes)) return name;
  }
  return undefined;
}

/** True when two tensors hold the same values, each perhaps rounded to its own element type. */
function isRounded(values: Float32Array, expected: Float32Array, [dtype, other]: readonly [string, string]): boolean {
  const relative = dtype === other ? 0 : Math.max(rounding(dtype), rounding(other));
  // F16 has no numbers nearer to zero than this.
  const absolute = dtype === other ? 0 : 2 ** -24;
  return values.every((value, place) => {
    const from = expected[place]!;
    return Math.abs(value - from) <= relative * Math.abs(from) + absolute;
  });
}

/** The largest relative change by rounding to an element type. */
function rounding(dtype: string): number {
  if (dtype === 'BF16') return 2 ** -8;
  return dtype === 'F16' ? 2 ** -11 : 0;
}
