import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { compressToDirectory } from '@kvlr/pipeline/node';
import { referenceModelDirectory, referenceTextPaths } from '@kvlr/reference-model/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readDocuments } from './support/compress-reference.ts';
import answers from './support/harness-answers.json' with { type: 'json' };
import { runJson } from './support/tiny-run.ts';

/** What lm-evaluation-harness answered: scripts/oracles/lm-eval. */
interface HarnessAnswer {
  task: string;
  doc_id: number;
  doc_hash: string;
  prompt_hash: string;
  target_hash: string;
  /** Log-likelihood and whether it is greedy, of each continuation; the log-likelihood of a whole text; or a text. */
  resps: [number | string, boolean?][] | (number | string)[];
}

interface Sample extends Omit<HarnessAnswer, 'task' | 'resps'> {
  resps: [[logLikelihood: number, isGreedy: boolean] | string][];
}

const folder = await mkdtemp(join(tmpdir(), 'kvlr-harness-'));
afterAll(() => rm(folder, { recursive: true }));

async function meanPool(): Promise<string> {
  const output = join(folder, 'pooled');
  const model = await openCheckpointDirectory(referenceModelDirectory);
  await compressToDirectory({
    model,
    output,
    recipe: {
      method: 'mean-pool',
      keyValueHeads: 4,
      calibration: { windows: 4, windowLength: 128 },
      recovery: { preset: 'none' },
      evaluation: { windowsPerSource: 1, windowLength: 65 },
    },
    texts: {
      calibration: await readDocuments(referenceTextPaths.calibration),
      evaluation: await readDocuments(referenceTextPaths.validation),
    },
    runtime: { backend: 'wasm' },
  });
  await model.close();
  return output;
}

/** All samples of a model by task. */
async function ask(model: string, name: string): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>();
  for (const [tasks, limit] of [
    ['kvlr_cloze,kvlr_continuation,kvlr_copy', '24'],
    ['kvlr_texts_rolling', '1'],
  ] as const) {
    const output = join(folder, `${name}-${limit}`);
    const asked = ['eval', model, '--tasks', tasks, '--limit', limit, '-o', output, '--backend', 'wasm'];
    const { model_name_sanitized: directory } = await runJson(asked);
    for (const task of tasks.split(',')) {
      const lines = (await readFile(join(output, directory, `samples_${task}.jsonl`), 'utf8')).trim().split('\n');
      samples.set(
        task,
        lines.map((line) => JSON.parse(line)),
      );
    }
  }
  return samples;
}

const models: [title: string, name: string, open: () => Promise<string>][] = [
  ['the embedded model', 'base', async () => 'embedded'],
  ['half of its KV heads, mean-pooled', 'pooled', meanPool],
];

describe.each(models)('lm-evaluation-harness with transformers, and kvlr, on %s', (_, name, open) => {
  const expected = (answers as unknown as Record<string, HarnessAnswer[]>)[name]!;
  const ofTask = (task: string) => expected.filter((answer) => answer.task === task);
  let samples: Map<string, Sample[]>;
  beforeAll(async () => {
    samples = await ask(await open(), name);
  }, 240_000);

  it('make the same of documents, prompts and targets', () => {
    for (const { task, doc_id, doc_hash, prompt_hash, target_hash } of expected) {
      expect(samples.get(task)![doc_id]).toMatchObject({ doc_id, doc_hash, prompt_hash, target_hash });
    }
  });

  it.each(['kvlr_cloze', 'kvlr_continuation'])('give every continuation of %s the same log-likelihood', (task) => {
    for (const { doc_id, resps } of ofTask(task)) {
      const given = samples.get(task)![doc_id]!.resps.map(([response]) => response);
      const close = resps.map((response) => [
        expect.closeTo((response as [number])[0], 2),
        (response as [number, boolean])[1],
      ]);
      expect([doc_id, given]).toEqual([doc_id, close]);
    }
  });

  it('write the same words behind a passage', () => {
    const given = samples.get('kvlr_copy')!.map(({ resps }) => resps[0]![0]);
    expect(given).toEqual(ofTask('kvlr_copy').map(({ resps }) => resps[0]));
  });

  it('give a whole text the same log-likelihood', () => {
    const windows = samples.get('kvlr_texts_rolling')![0]!.resps.map(([[logLikelihood]]) => Number(logLikelihood));
    const sum = windows.reduce((total, one) => total + one, 0);
    expect(sum).toBeCloseTo(ofTask('kvlr_texts_rolling')[0]!.resps[0] as number, 0);
  });
});
