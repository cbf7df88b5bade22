import type { KvlrEvent } from '@kvlr/core';
import pc from 'picocolors';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createEventRenderer } from './events.ts';

function renderPlain(): { lines: () => string[]; send: (...events: KvlrEvent[]) => void } {
  let written = '';
  const plain = (text: string) => text;
  const renderer = createEventRenderer({
    writeOut: () => {},
    writeError: (text) => {
      written += text;
    },
    readInput: async () => undefined,
    interactive: false,
    columns: 100,
    colors: pc.createColors(false),
    styles: { strong: plain, faint: plain },
  });
  return { lines: () => written.split('\n').slice(0, -1), send: (...events) => events.forEach(renderer.onEvent) };
}

const progress = (completed: number): KvlrEvent => ({
  type: 'progress',
  stage: 'statistics',
  completed,
  total: 48,
  unit: 'windows',
});

describe('events without a terminal', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('become plain lines', () => {
    const { lines, send } = renderPlain();
    send(
      { type: 'stage-started', stage: 'statistics', title: 'Second moments' },
      { type: 'note', message: 'Backend wasm' },
      { type: 'warning', message: 'Something odd' },
      { type: 'stage-finished', stage: 'statistics', seconds: 12, skipped: false, detail: '24,576 tokens' },
      { type: 'stage-finished', stage: 'grouping', seconds: 0, skipped: true },
    );
    expect(lines()).toEqual([
      'statistics  Second moments',
      'note        Backend wasm',
      'warning     Something odd',
      '            done in 12 s; 24,576 tokens',
      '            kept from the run directory',
    ]);
  });

  it('say how far a stage is, at most once in ten seconds', () => {
    const { lines, send } = renderPlain();
    for (let completed = 1; completed <= 48; completed++) {
      vi.advanceTimersByTime(1000);
      send(progress(completed));
    }
    expect(lines()).toEqual([
      '            20 %  10/48 windows',
      '            41 %  20/48 windows',
      '            62 %  30/48 windows',
      '            83 %  40/48 windows',
    ]);
  });
});
