import {
  type Checkpoint,
  type DecoderTensor,
  decoderTensors,
  type EventListener,
  isCompressedRole,
  KvlrError,
} from '@kvlr/core';

const hint = 'Give the model that this checkpoint was compressed from.';

/**
 * Checks that a teacher is the model which a compressed checkpoint was made from. One that cannot be is refused; one whose tensors
 * outside attention differ may be meant (a fine-tuned sibling), so there is a warning.
 *
 * @throws KvlrError 'invalid-argument' when the two are the same model, or differ in a size that compression keeps.
 */
export async function checkTeacher(model: Checkpoint, teacher: Checkpoint, onEvent?: EventListener): Promise<void> {
  if (model.id === teacher.id) {
    throw new KvlrError('invalid-argument', {
      message: `expected a compressed checkpoint and the model it was made from, got ${teacher.location} as both`,
      hint: 'Compress the model first, and recover the result towards it.',
      data: { file: model.location, teacher: teacher.location },
    });
  }
  const [kept, expected] = [keptTensors(model), keptTensors(teacher)];
  const other = expected.findIndex((tensor, place) => describe(tensor) !== describe(kept[place]));
  if (other !== -1 || kept.length !== expected.length) {
    const [received, wanted] = [describe(expected.at(other)), describe(kept.at(other))];
    throw new KvlrError('invalid-argument', {
      message: `expected a teacher with ${wanted} like ${model.location}, got ${received} in ${teacher.location}`,
      hint,
      data: { expected: wanted, received },
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

/** What compression leaves as it is: all but the projections of attention. */
function keptTensors({ shape }: Checkpoint): DecoderTensor[] {
  return decoderTensors(shape).filter(({ role }) => !isCompressedRole(role));
}

function describe(tensor: DecoderTensor | undefined): string {
  if (tensor === undefined) return 'no further tensor';
  const { role, layer, shape } = tensor;
  return `${role}${layer === undefined ? '' : ` of layer ${layer}`} of [${shape.join(', ')}]`;
}

/** Name of the first tensor outside attention whose values differ by more than the element types explain. */
async function findForeignTensor(model: Checkpoint, teacher: Checkpoint): Promise<string | undefined> {
  for (const { role, layer } of keptTensors(teacher)) {
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
