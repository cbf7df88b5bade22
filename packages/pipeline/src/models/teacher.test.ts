import type { HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import type { KvlrEvent } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { openTinyCheckpoint } from '../testing/tiny-run.ts';
import { checkTeacher } from './teacher.ts';

const teacher = await openTinyCheckpoint();

/** The teacher under another id, as a checkpoint made from it, with one tensor changed by a function. */
function changed(name: string, change: (value: number) => number, dtype?: 'BF16'): HuggingFaceCheckpoint {
  const { tensors } = teacher;
  return {
    ...teacher,
    id: 'student',
    location: 'small',
    tensors: {
      ...tensors,
      info: (asked) => ({ ...tensors.info(asked), ...(dtype && { dtype }) }),
      readFloat32: async (asked) => {
        const values = await tensors.readFloat32(asked);
        return asked === name ? values.map(change) : values;
      },
    },
  };
}

async function warningsOf(model: HuggingFaceCheckpoint): Promise<string[]> {
  const events: KvlrEvent[] = [];
  await checkTeacher(model, teacher, (event) => events.push(event));
  return events.map((event) => (event.type === 'warning' ? event.message : event.type));
}

describe('checkTeacher', () => {
  const down = teacher.tensorName('downWeight', 1);

  it('is silent where only attention differs', async () => {
    expect(await warningsOf(changed(teacher.tensorName('queryWeight', 0), (value) => value + 1))).toEqual([]);
  });

  it('warns, naming the tensor, where another one differs', async () => {
    for (const name of [down, teacher.tensorName('embedding'), teacher.tensorName('finalNorm')]) {
      expect(await warningsOf(changed(name, (value) => value * 1.001))).toEqual([expect.stringContaining(name)]);
    }
  });

  it('takes rounding to another element type for what it is', async () => {
    expect(await warningsOf(changed(down, (value) => value * 1.003, 'BF16'))).toEqual([]);
    expect(await warningsOf(changed(down, (value) => value * 1.01, 'BF16'))).toHaveLength(1);
  });

  it('refuses a teacher that cannot be the base, and the checkpoint itself', async () => {
    const narrow = {
      ...teacher,
      id: 'student',
      shape: { ...teacher.shape, feedForward: { ...teacher.shape.feedForward, intermediateSize: 7 } },
    };
    await expect(checkTeacher(narrow, teacher)).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringContaining('gateWeight of layer 0 of [7,'),
    });
    await expect(checkTeacher(teacher, teacher)).rejects.toMatchObject({ code: 'invalid-argument' });
  });
});
