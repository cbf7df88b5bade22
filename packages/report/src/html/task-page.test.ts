import { describe, expect, it } from 'vitest';
import type { TaskReport } from '../documents/task-report.ts';
import { tasksTerminal } from '../terminal.ts';
import { findFaults } from '../testing/markup-faults.ts';
import { taskHtml } from './task-page.ts';

const report: TaskReport = {
  title: 'base against <small>',
  conditions: [
    { name: 'base', cacheBytes: 6144 * 1024 },
    { name: '<small>', cacheBytes: 3072 * 1024 },
  ],
  rows: [
    {
      task: 'piqa',
      version: 1,
      filter: 'none',
      numFewshot: 0,
      metric: 'acc',
      higherIsBetter: true,
      documents: 1838,
      values: [
        { value: 0.75, standardError: 0.0101 },
        { value: 0.72, standardError: 0.0105 },
      ],
      differences: [undefined, { value: -0.03, standardError: 0.005, interval: [-0.0398, -0.0202] }],
    },
  ],
  disagreements: [{ task: 'piqa', document: 7, context: 'Question: & so on', expected: 'a', answers: ['a', '<b>'] }],
  notes: ['A note.'],
};

describe('a report on tasks', () => {
  it('is a sound page with scores, plot and answers side by side', () => {
    const page = taskHtml(report);
    expect(findFaults(page)).toEqual([]);
    for (const text of ['0.7500 ± 0.0101', '−0.0300 (−0.0398 to −0.0202)', '3 MiB', '&lt;b&gt;', 'document 7']) {
      expect(page).toContain(text);
    }
  });

  it('is a table in the form of the harness on a terminal', () => {
    const text = tasksTerminal(report);
    expect(text).toMatch(/^piqa +1 +none +0 +1,838 +acc ↑ +base +0\.7500 ± 0\.0101$/m);
    expect(text).toMatch(/^ +<small> +0\.7200 ± 0\.0105 +−0\.0300 \(−0\.0398 to −0\.0202\)$/m);
  });
});
