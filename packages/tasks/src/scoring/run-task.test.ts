import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { taskFieldsSchema } from '../definition/task-fields.ts';
import { buildPrompts } from '../prompts/prompts.ts';
import { harnessSamples } from '../results/samples.ts';
import { taskResultsFile } from '../results/task-results.ts';
import { characters, scriptedModel, taskYaml } from '../testing/scripted-model.ts';
import type { TaskAnswer } from './metrics.ts';
import { type AnswerStore, runTask } from './run-task.ts';

const fields = taskFieldsSchema.parse(
  parse(taskYaml('output_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: options\ndoc_to_target: label')),
);
const documents = [
  { q: 'Which?', options: ['bb', 'aa'], label: 1 },
  { q: 'And now?', options: ['d', 'c'], label: 0 },
];
const prompts = buildPrompts({ fields, documents, exampleDocuments: [] });
const run = (model = scriptedModel(), answers?: AnswerStore) =>
  runTask({ fields, prompts, model, modelKey: 'm', tokenizer: characters, answers });

describe('a task', () => {
  it('is asked and scored, document by document', async () => {
    const samples = await run();
    expect(samples.map(({ byFilter }) => byFilter)).toMatchObject([
      [{ filter: 'none', parts: { acc: 1 } }],
      [{ filter: 'none', parts: { acc: 0 } }],
    ]);
    const results = [{ definition: { fields, folder: '' }, samples, documentCount: 2, numFewshot: 0 }];
    const file = taskResultsFile(results, { modelId: 'id', modelName: 'a/model', limit: 2 });
    expect(file.results.example).toMatchObject({ 'acc,none': 0.5, 'acc_stderr,none': 0.5, sample_len: 2 });
    expect(file).toMatchObject({
      'n-samples': { example: { original: 2, effective: 2 } },
      'n-shot': { example: 0 },
      higher_is_better: { example: { acc: true } },
      model_name_sanitized: 'a__model',
      config: { limit: 2 },
    });
  });

  it('does not ask again what was answered', async () => {
    const kept = new Map<string, TaskAnswer>();
    const answers: AnswerStore = {
      get: (key) => kept.get(key),
      put: async (key, answer) => void kept.set(key, answer),
    };
    const first = await run(scriptedModel(), answers);
    const model = scriptedModel();
    expect(await run(model, answers)).toEqual(first);
    expect(model.asked).toEqual([]);
  });

  it('is recorded with the hashes of the harness', async () => {
    const [sample] = await run();
    const [record] = await harnessSamples(sample!);
    // hashlib.sha256(json.dumps(doc, indent=2, ensure_ascii=False).encode()), of "Which?" and of str(1), in Python.
    expect(record).toMatchObject({
      doc_hash: 'ccf406f396a0392a3e80be822e83ed145af58ba988ade9e15e8079b6e792ed9d',
      prompt_hash: 'f04329d65effaa07830f4ff30d13cdcad36b43666b07f85dad90f313979b7667',
      target_hash: '6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b',
      arguments: [
        ['Which?', ' bb'],
        ['Which?', ' aa'],
      ],
      acc: 1,
    });
  });
});
