import type { LogitSource } from '@kvlr/core';
import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import type { ModelRunner } from './runner.ts';
import { useOnDemand } from './use-on-demand.ts';

const model = createTinyModel();
const noWindows = async () => [];

/** A runner that notes when it loads and frees. */
function notingRunner(fails = false) {
  const notes: string[] = [];
  const runner: Pick<ModelRunner, 'use'> = {
    async use(_, __, work) {
      if (fails) throw new Error('no room');
      notes.push('load');
      const value = await work({ vocabSize: 4, logits: async () => new Float32Array(4) } satisfies LogitSource);
      notes.push('free');
      return value;
    },
  };
  return { notes, runner };
}

describe('useOnDemand', () => {
  it('loads once, when asked, and frees at the end', async () => {
    const { notes, runner } = notingRunner();
    const answer = await useOnDemand(runner, model, noWindows, async (load) => {
      notes.push('work');
      expect(await load()).toBe(await load());
      notes.push('done');
      return 7;
    });
    expect([answer, ...notes]).toEqual([7, 'work', 'load', 'done', 'free']);
  });

  it('loads nothing that is not asked for, and frees after a failure', async () => {
    const { notes, runner } = notingRunner();
    await useOnDemand(runner, model, noWindows, async () => {});
    expect(notes).toEqual([]);
    const failing = useOnDemand(runner, model, noWindows, async (load) => {
      await load();
      throw new Error('out of ideas');
    });
    await expect(failing).rejects.toThrow('out of ideas');
    expect(notes).toEqual(['load', 'free']);
  });

  it('passes on that the model cannot be loaded', async () => {
    await expect(useOnDemand(notingRunner(true).runner, model, noWindows, (load) => load())).rejects.toThrow('no room');
  });
});
