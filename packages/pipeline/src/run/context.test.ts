import type { KvlrEvent } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { type Artefact, artefactKey, jsonCodec } from './artefact.ts';
import { RunContext, type Stage } from './context.ts';
import { MemoryRunStore } from './store.ts';

const key = await artefactKey('inputs', {});
const artefactOf = (name: string): Artefact<number> => ({ name, key, codec: jsonCodec<number>() });
const stage = { ...artefactOf('number'), stage: 'factors' as const, title: 'A number', detail: String };

const pause = () => new Promise((resolve) => setTimeout(resolve, 5));
const compute = (value: number) => async () => {
  await pause();
  return value;
};

describe('a cached stage', () => {
  it('computes once, and tells of it alike both times', async () => {
    const store = new MemoryRunStore();
    const events: KvlrEvent[] = [];
    const run = () => new RunContext(store, { onEvent: (event) => events.push(event) });
    const first = run();
    expect(await first.cached(stage, compute(7))).toBe(7);
    const second = run();
    expect(await second.cached(stage, compute(8))).toBe(7);
    expect(events.map(({ type }) => type)).toEqual([
      ...['stage-started', 'stage-finished'],
      ...['stage-started', 'stage-finished'],
    ]);
    expect(events.filter(({ type }) => type === 'stage-finished')).toMatchObject([
      { skipped: false, detail: '7' },
      { skipped: true, detail: '7' },
    ]);
    expect(first.stages[0]!.earlierSeconds).toBe(0);
    expect(second.stages[0]!.earlierSeconds).toBeGreaterThan(0.004);
    expect(second.earlier!.seconds).toBe(second.stages[0]!.earlierSeconds);
    expect(second.seconds).toBe(second.stages[0]!.seconds + second.stages[0]!.earlierSeconds!);
  });

  it('computes again for another key', async () => {
    const store = new MemoryRunStore();
    await new RunContext(store, {}).cached(stage, compute(7));
    const other = { ...stage, key: await artefactKey('other inputs', {}) };
    expect(await new RunContext(store, {}).cached(other, compute(8))).toBe(8);
  });

  it('goes on behind a checkpoint of a run that was cut, books what that took, and forgets it at the end', async () => {
    const store = new MemoryRunStore();
    const checkpoint = artefactOf('checkpoint');
    const withCheckpoint = { ...stage, replaces: checkpoint.name };
    const cut = new RunContext(store, {}).cached(withCheckpoint, async (running) => {
      await pause();
      await running.save(checkpoint, 3);
      throw new Error('power cut');
    });
    await expect(cut).rejects.toThrow('power cut');
    const resumed = new RunContext(store, {});
    const work = async (running: Stage) => (await running.load(checkpoint))!.value + 1;
    expect(await resumed.cached(withCheckpoint, work)).toBe(4);
    expect(resumed.stages[0]).toMatchObject({ skipped: false });
    expect(resumed.stages[0]!.earlierSeconds).toBeGreaterThan(0.004);
    expect(await store.list()).toEqual(['number']);
    const third = new RunContext(store, {});
    await third.cached(withCheckpoint, work);
    expect(third.earlier!.seconds).toBeGreaterThan(resumed.stages[0]!.earlierSeconds!);
  });

  it('keeps pieces with the time since the piece before', async () => {
    const store = new MemoryRunStore();
    const pieces = [artefactOf('one'), artefactOf('two')];
    const keep = async (running: Stage) => {
      for (const piece of pieces) {
        await pause();
        await running.savePiece(piece, 1);
      }
    };
    const first = new RunContext(store, {});
    await first.stage('recovery', 'In pieces', keep);
    const second = new RunContext(store, {});
    await second.stage('recovery', 'In pieces', (running) => Promise.all(pieces.map((piece) => running.load(piece))));
    expect(second.earlier!.seconds).toBeGreaterThan(0.008);
    expect(second.earlier!.seconds).toBeLessThanOrEqual(first.stages[0]!.seconds);
  });

  it('counts the progress of a part on where the part before it ended', async () => {
    const completed: number[] = [];
    const context = new RunContext(new MemoryRunStore(), {
      onEvent: (event) => 'completed' in event && completed.push(event.completed, event.total),
    });
    await context.stage('evaluation', 'Two halves', async (running) => {
      const progress = { type: 'progress' as const, stage: 'evaluation' as const, unit: 'windows' };
      for (const part of [0, 1]) running.part(part, 2).onEvent!({ ...progress, completed: 3, total: 4 });
    });
    expect(completed).toEqual([3, 8, 7, 8]);
  });

  it('does not begin once the run is stopped', async () => {
    const stopped = new RunContext(new MemoryRunStore(), { signal: AbortSignal.abort() });
    await expect(stopped.cached(stage, compute(7))).rejects.toMatchObject({ code: 'aborted' });
  });
});

describe('the log', () => {
  it('has what happened before it began, and no progress', async () => {
    const store = new MemoryRunStore();
    const context = new RunContext(store, {});
    await context.stage('inspect', 'Checks', async (running) => running.progress(1, 2, 'steps'));
    expect(await store.list()).toEqual([]);
    await context.beginLog();
    await context.stage('report', 'Report', async () => {});
    const lines = new TextDecoder()
      .decode(await store.read('events.jsonl'))
      .trim()
      .split('\n');
    expect(lines.map((line) => JSON.parse(line).type)).toEqual([
      ...['stage-started', 'stage-finished'],
      ...['stage-started', 'stage-finished'],
    ]);
  });
});
