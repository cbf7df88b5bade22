import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { taskYaml } from '../testing/scripted-model.ts';
import { readTaskFile, type TaskFiles } from './read-task.ts';

const filesOf = (contents: Record<string, string>): TaskFiles => ({
  folderOf: () => '',
  resolve: (_, name) => name,
  read: async (path) => contents[path]!,
});

const choices = 'output_type: multiple_choice\ndoc_to_choice: [a, b]\ndoc_to_target: label';

describe('a task file', () => {
  it('is read with what it includes, its own fields first', async () => {
    const files = filesOf({ 'a.yaml': 'include: b.yaml\ntask: a\nnum_fewshot: 2', 'b.yaml': taskYaml(choices) });
    const task = await readTaskFile('a.yaml', files);
    expect(task.fields).toMatchObject({ task: 'a', num_fewshot: 2, target_delimiter: ' ', fewshot_delimiter: '\n\n' });
  });

  it('may hold a group, whose members include a common file', async () => {
    const group = `
group: all
aggregate_metric_list: [{ metric: acc }]
task: [{ task: one, include: b.yaml, dataset_name: first }, { task: two, include: b.yaml, dataset_name: second }]`;
    const read = await readTaskFile('g.yaml', filesOf({ 'g.yaml': group, 'b.yaml': taskYaml(choices) }));
    const members = 'tasks' in read ? read.tasks : [];
    expect(members.map(({ fields }) => [fields.task, fields.dataset_name])).toEqual([
      ['one', 'first'],
      ['two', 'second'],
    ]);
  });

  it.each([
    [taskYaml('doc_to_target: !function utils.target'), /without Python, got the Python function utils\.target/],
    [taskYaml(`${choices}\ndoc_to_txt: x`), /doc_to_txt/],
    [taskYaml('output_type: multiple_choice\ndoc_to_target: label'), /doc_to_choice/],
    [taskYaml('output_type: loglikelihood_rolling\ndoc_to_target: text'), /word_perplexity.*got acc/],
    [taskYaml('doc_to_target: ['), /YAML/],
    ['- a list', /fields of a task, got/],
    ['include: a.yaml', /include each other/],
    ['group: all\ntask: [a, a, a]', /include each other/],
  ])('is refused by name where kvlr does not run it: %j', async (text, message) => {
    await expectKvlrError(() => readTaskFile('a.yaml', filesOf({ 'a.yaml': text })), 'file-malformed', message);
  });

  it('is refused where it has no bounds', async () => {
    const doubled = Array.from({ length: 9 }, (_, level) => {
      const entry = level === 0 ? 'x' : `*a${level - 1}`;
      return `a${level}: &a${level} [${Array(9).fill(entry).join()}]`;
    });
    for (const text of [`a: ${'['.repeat(20_000)}`, doubled.join('\n')]) {
      await expectKvlrError(() => readTaskFile('a.yaml', filesOf({ 'a.yaml': text })), 'file-malformed', /YAML/);
    }
  });
});
